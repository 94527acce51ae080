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

/// Random shapes of channels that fill no block of 16, several positions, two images or more.
let private agrees =
    testCase "where any of many random convolutions is wrong, the check says so"
    <| fun () ->
        let random = Random 5
        let among (values: int64 list) = values[random.Next values.Length]

        let errors =
            [
                for _ in 1..60 do
                    { ConvolutionCheck.square with
                        Images = among [ 2L; 3L; 4L ]
                        In = among [ 20L; 24L; 40L; 65L ]
                        Out = among [ 17L; 20L; 24L; 40L; 48L ]
                        Size = [ random.NextInt64(9L, 20L); random.NextInt64(9L, 20L) ]
                        Kernel = [ among [ 1L; 2L; 3L; 5L ]; among [ 3L; 5L ] ]
                        Stride = [ among [ 1L; 2L ]; 1L ]
                        Padding = [ among [ 0L; 1L; 2L ]; 1L ]
                        Dilation = [ 1L; among [ 1L; 2L ] ]
                        Transposed = random.Next 3 = 0
                    }
                    |> ConvolutionCheck.error ConvolutionCheck.byTorch
            ]

        if errors |> List.exists (fun e -> not (e < ConvolutionCheck.tolerance)) then
            match Native.check () with
            | Error [ TensorNetError.WrongConvolutions error ] -> Expect.isFalse (error < ConvolutionCheck.tolerance) "its error"
            | other -> failtest $"{other}, though errors are {List.max errors}"

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
    testCase "a guard that comes too late is refused by name"
    <| fun () ->
        use _ = torch.zeros ([| 1L |], dtype = torch.float32, device = torch.CPU)

        match NativeEnvironment.get "ONEDNN_MAX_CPU_ISA", Native.guard () with
        | ValueNone, Error [ TensorNetError.TooLate(call, reason) ] ->
            Expect.equal call "Native.guard" "call"
            Expect.stringContains reason "loaded already" "reason"
        | ValueNone, other -> failtest $"{other}"
        | ValueSome _, _ -> skiptest "ONEDNN_MAX_CPU_ISA is set"

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
    testSequenced (testList "libraries under torch" [ finds; acquits; agrees; says; late; agree; placed; absent ])
