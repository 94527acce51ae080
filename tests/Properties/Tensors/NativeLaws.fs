/// The check of libtorch's convolutions, and what is said of libraries that cannot be loaded.
module NativeLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators

/// Convolutions that are wrong: NaN in one result, one channel scaled, the whole as if from other memory.
let private faults: (string * (torch.Tensor -> torch.Tensor)) list =
    let scaled (f: float) (y: torch.Tensor) =
        let y = y.clone ()
        let last = y.select (1L, -1L)
        last.copy_ (last.mul (Num.like last f)) |> ignore
        y

    [
        "NaN", scaled nan
        "the last channel by a fifth", scaled 0.8
        "the last channel without its sum", scaled 0.0
        "all of them", (fun y -> y.mul (Num.like y 1.001))
    ]

let private finds =
    testCase "a fault in any one of the probes is found, whatever it does to the numbers"
    <| fun () ->
        for faulty in ConvolutionCheck.probes do
            for name, spoil in faults do
                let convolve probe (w: torch.Tensor) (x: torch.Tensor) =
                    let y = ConvolutionCheck.byTorch probe (w.``to`` torch.float64) (x.``to`` torch.float64)
                    (if probe = faulty then spoil y else y).``to`` torch.float32

                let error = ConvolutionCheck.worst convolve
                Expect.isFalse (error < ConvolutionCheck.tolerance) $"{name}: {error}"

let private acquits =
    testCase "convolutions that are right to float32's rounding are acquitted, and no tensor is left behind"
    <| fun () ->
        let convolve probe (w: torch.Tensor) (x: torch.Tensor) =
            (ConvolutionCheck.byTorch probe (w.``to`` torch.float64) (x.``to`` torch.float64)).``to`` torch.float32

        let before = NativeTensors.settledCount ()
        Expect.isLessThan (ConvolutionCheck.worst convolve) 1e-6 "rounding"
        Expect.equal torch.Tensor.TotalCount before "tensors"

/// Random convolutions of several positions, of one image and of many, of channels that fill blocks of 16 and that do not.
let private drawn (random: Random) =
    let among (values: int64 list) = values[random.Next values.Length]

    { ConvolutionCheck.square with
        Images = among [ 1L; 2L; 3L; 4L ]
        In = among [ 16L; 20L; 24L; 40L; 65L ]
        Out = among [ 16L; 17L; 20L; 24L; 40L; 48L; 100L ]
        Size = [ random.NextInt64(9L, 20L); random.NextInt64(9L, 20L) ]
        Kernel = [ among [ 1L; 2L; 3L; 5L ]; among [ 3L; 5L ] ]
        Stride = [ among [ 1L; 2L ]; 1L ]
        Padding = [ among [ 0L; 1L; 2L ]; 1L ]
        Dilation = [ 1L; among [ 1L; 2L ] ]
        Transposed = random.Next 3 = 0
    }

/// The errors of random convolutions, and the worst of the probes, with oneDNN on or off, which is left as it was.
let private errorsWith (isOn: bool) =
    let before = OneDnn.isOn ()

    let found =
        OneDnn.during isOn (fun () ->
            Expect.equal (OneDnn.isOn ()) (ValueSome isOn) "the switch"
            let random = Random 5
            let error = ConvolutionCheck.error ConvolutionCheck.byTorch

            [
                for _ in 1..60 do
                    let probe = drawn random
                    probe, [ error probe; error { probe with ChannelsLast = true } ]
            ],
            ConvolutionCheck.worst ConvolutionCheck.byTorch)

    Expect.equal (OneDnn.isOn ()) before "the switch afterwards"
    found |> ValueOption.defaultWith (fun () -> skiptest "this libtorch has no switch for oneDNN")

let private agrees =
    testCase "where any of many random convolutions is wrong with oneDNN, one of the probes is"
    <| fun () ->
        let errors, worst = errorsWith true

        if errors |> List.exists (snd >> List.exists (fun e -> not (e < ConvolutionCheck.tolerance))) then
            Expect.isFalse (worst < ConvolutionCheck.tolerance) $"the probes have {worst}"

let private without =
    testCase "without oneDNN every convolution is right to float32's rounding, on every processor"
    <| fun () ->
        let errors, worst = errorsWith false

        for probe, found in errors do
            for error in found do
                Expect.isLessThan error 2e-6 $"{probe}"

        Expect.isLessThan worst 2e-6 "probes"

let private guarded =
    testCase "after the guard the check acquits; where it acquits already the guard leaves oneDNN as it is"
    <| fun () ->
        let before, sound = OneDnn.isOn (), Native.check ()
        Expect.isOk (Native.guard ()) "guard"
        Expect.isOk (Native.check ()) "check"

        if Result.isOk sound then
            Expect.equal (OneDnn.isOn ()) before "the switch"

/// What loaders say, whether libtorch and TorchSharp's library are there, and what the two lines must name.
let private failures =
    [
        "/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by libLibTorchSharp.so)",
        true,
        true,
        "GLIBCXX_3.4.32",
        "TensorNetsMendNative"
        "libtorch.so: cannot open shared object file: No such file or directory", false, true, "libtorch is missing", "TorchSharp-cpu"
        "Unable to load DLL 'LibTorchSharp.dll' or one of its dependencies", false, false, "libtorch is missing", "TorchSharp-cpu"
        "libLibTorchSharp.so: cannot open shared object file", true, false, "LibTorchSharp", "add package TorchSharp "
        "undefined symbol: _ZN2at4_ops", true, true, "undefined symbol: _ZN2at4_ops", "one version"
    ]

let private says =
    testCase "what keeps torch from being loaded is said in two lines: what is missing, and what to add"
    <| fun () ->
        for said, hasTorch, hasBridge, what, remedy in failures do
            let lines = (LoadFailure.diagnose said hasTorch hasBridge).Message.Split(Environment.NewLine)
            Expect.hasLength lines 2 said
            Expect.stringContains lines[0] what said
            Expect.stringContains lines[1] remedy said

let private late =
    testCase "what must come before libtorch is refused by name where it comes too late"
    <| fun () ->
        use _ = torch.zeros ([| 1L |], dtype = torch.float32, device = torch.CPU)

        match NativeEnvironment.get "THP_MEM_ALLOC_ENABLE", Native.hugePages () with
        | ValueNone, Error [ TensorNetError.TooLate(call, reason) ] ->
            Expect.equal call "Native.hugePages" "call"
            Expect.stringContains reason "loaded already" "reason"
        | ValueSome _, Ok() -> ()
        | _, other when OperatingSystem.IsLinux() -> failtest $"{other}"
        | _ -> ()

/// The build target that a package carries.
let private targets =
    lazy
        (let here =
            IO.Path.Combine(__SOURCE_DIRECTORY__, "..", "..", "..", "src", "TensorNets.Core.fs", "buildTransitive")

         IO.File.ReadAllText(IO.Path.Combine(here, "TensorNets.Core.targets")))

let private agree =
    testCase "a script is mended as a build is: by the same hashes, at the same byte"
    <| fun () ->
        for value in [ ScriptLibraries.oldHash; ScriptLibraries.newHash; $">{ScriptLibraries.offset}<" ] do
            Expect.stringContains targets.Value value "targets"

/// Runs a check on the unmended library of the machine's package cache, if that has it, and an empty folder.
let private inPackage (check: string -> byte[] -> unit) =
    let cache =
        IO.Path.Combine(Environment.GetFolderPath Environment.SpecialFolder.UserProfile, ".nuget", "packages")

    let assembly = IO.Path.Combine(cache, "torchsharp", "0.107.0", "lib", "net8.0", "TorchSharp.dll")
    let folder = IO.Directory.CreateTempSubdirectory().FullName

    try
        match ScriptLibraries.original assembly with
        | ValueSome bytes -> check folder bytes
        | ValueNone -> skiptest "TorchSharp 0.107.0 for Linux is not in the package cache"
    finally
        IO.Directory.Delete(folder, true)

let private placed =
    testCase "a script's copy differs in one byte, is made again where it is damaged, and is left where it is right"
    <| fun () ->
        inPackage (fun folder original ->
            let file = ScriptLibraries.placed folder original
            let mended = IO.File.ReadAllBytes file

            let changed =
                [
                    for i in 0 .. original.Length - 1 do
                        if original[i] <> mended[i] then
                            i
                ]

            Expect.equal changed [ ScriptLibraries.offset ] "changed"
            let written = IO.File.GetLastWriteTimeUtc file
            Expect.equal (ScriptLibraries.placed folder original) file "file"
            Expect.equal (IO.File.GetLastWriteTimeUtc file) written "it was written again"
            IO.File.WriteAllBytes(file, original)
            ScriptLibraries.placed folder original |> ignore
            Expect.equal (IO.File.ReadAllBytes file) mended "damaged"
            Expect.hasLength (IO.Directory.GetFiles folder) 1 "files")

let private absent =
    testCase "beside a program there is nothing for scripts to mend"
    <| fun () ->
        for assembly in [ ""; typeof<torch>.Assembly.Location ] do
            Expect.isTrue (ScriptLibraries.original assembly).IsNone assembly

let all =
    testSequenced (testList "libraries under torch" [ finds; acquits; agrees; without; guarded; says; late; agree; placed; absent ])
