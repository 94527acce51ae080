/// Defaults of torch that a program may set, its dtype and its device, change nothing of ours.
module DefaultLaws

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open TorchSharp
open TensorNets
open Generators

/// Made by no default.
let private noise (seed: int) (shape: int64 list) =
    use generator = new torch.Generator(uint64 seed)
    Fresh.noise generator torch.float64 torch.CPU (List.toArray shape)

let private conv (kernel: int64) : torch.nn.Module<torch.Tensor, torch.Tensor> =
    torch.nn.Conv2d(32L, 32L, kernel, padding = kernel / 2L, dtype = Nullable torch.float32, device = torch.CPU)

/// Layers whose stages and weights are made by every kernel of ours.
let private layers () : (string * FactorizedLayer * torch.Tensor) list =
    [
        for kernel, images in [ 3L, 2L; 5L, 1L ] do
            for axes, format in
                [
                    KernelAxes.Fused, Format.CP 8
                    KernelAxes.Separate, Format.CP 8
                    KernelAxes.Fused, Format.Tucker2(16, 16)
                    KernelAxes.Fused, Format.Tucker2(20, 20)
                    KernelAxes.Fused, Format.TensorTrain [ 16; 16 ]
                ] do
                for lowering in [ Lowering.Staged; Lowering.Windowed; Lowering.Dense; Lowering.Cheapest ] do
                    use dense = conv kernel
                    let layer = Layers.fresh (Some lowering) axes 3UL 1.0 format dense |> ok
                    let x = (noise 1 [ images; 32L; 12L; 12L ]).``to`` torch.float32
                    $"{kernel} {axes} %A{format} {lowering}", layer, x
    ]

let private layerWork () : torch.Tensor list =
    [
        for _, layer, x in layers () do
            use layer = layer

            let still =
                use _ = torch.no_grad ()
                layer.call x

            still
            let x = x.detach().requires_grad_ true
            let y = layer.call x
            let s = layer.Sensitivity()
            y.squared().sum().plus(s).backward()
            y.detach ()
            s.detach ()
            nonNull x.grad

            for p in layer.Factors do
                (nonNull p.grad).clone()
    ]

let private networkWork () : torch.Tensor list =
    [
        for dtype in [ torch.float64; torch.float32 ] do
            let target = (noise 5 [ 6L; 5L; 7L ]).``to`` dtype

            for format in
                [
                    Format.CP 3
                    Format.Tucker [ 3; 3; 3 ]
                    Format.TensorTrain [ 3; 3 ]
                    Format.TensorChain [ 2; 2; 2 ]
                    Format.BlockTerm(2, [ 2; 2; 2 ])
                ] do
                let options =
                    { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 8 }; Starts = 2 }

                let fit = Factorize.run options format target |> ok
                yield! fit.Network.Cores
                Contraction.reconstruct fit.Network
                Contraction.norm fit.Network
                Sensitivity.total fit.Network
                let stable = Correction.epc options.Sweeps (ErrorBound.Relative 0.95) target fit.Network |> ok
                yield! stable.Network.Cores

                for norm in [ Norm.Frobenius; Norm.Weighted([ 0 ], (noise 6 [ 6L; 9L ]) |> fun x -> x.matmul x.mT) ] do
                    Sensitivity.totalIn norm fit.Network |> ok
                    yield! (Gauge.truncate fit.Network).Cores

            let random =
                Network.random dtype 3UL (Format.spec [ 4; 5; 6 ] (Format.TensorTrain [ 2; 3 ]) |> Result.toOption |> Option.get)

            yield! random.Cores
            let mean, error = Sensitivity.estimate 20 1e-2 4UL random
            torch.tensor ([| mean; error |], dtype = torch.float64, device = torch.CPU)
    ]

let private fileWork () : torch.Tensor list =
    [
        use dense = conv 3L
        use layer = Layers.fresh None KernelAxes.Fused 3UL 1.0 (Format.CP 8) dense |> ok
        use stream = new MemoryStream()
        LayerFile.write stream layer |> ok
        stream.Position <- 0L
        use back = LayerFile.read "a layer" stream |> ok
        yield! back.Factors |> Seq.map (fun p -> p.detach().clone())
        use again = back.ToDense()

        for struct (_, p) in again.named_parameters () do
            if p.dim () > 1L then
                p.detach().clone()
    ]

/// What is made while torch has other defaults, which are put back whatever happens.
let private under (set: unit -> unit) (reset: unit -> unit) (work: unit -> torch.Tensor list) : torch.Tensor list =
    set ()

    try
        work ()
    finally
        reset ()

let private dtypes =
    [
        for dtype in [ torch.float64; torch.bfloat16; torch.float16 ] ->
            string dtype, (fun () -> torch.set_default_dtype dtype), (fun () -> torch.set_default_dtype torch.float32)
    ]

/// A device on which nothing can be computed.
let private device =
    "meta device", (fun () -> torch.set_default_device torch.META), (fun () -> torch.set_default_device torch.CPU)

let private results =
    testList
        "the same bits under any default dtype and device"
        [
            for what, work, defaults in
                [
                    "layers", layerWork, device :: dtypes
                    "networks and fits", networkWork, device :: dtypes
                    "layer files", fileWork, device :: dtypes
                ] do
                onOneThread what (fun () ->
                    let expected = work ()

                    for name, set, reset in defaults do
                        let found = under set reset work
                        Expect.equal found.Length expected.Length $"{name}: results"

                        List.iteri2
                            (fun i (a: torch.Tensor) (b: torch.Tensor) ->
                                Expect.equal a.dtype b.dtype $"{name}: dtype of result {i}"
                                Expect.equal (string a.device) (string b.device) $"{name}: device of result {i}"
                                Expect.isTrue (identical a b) $"{name}: result {i}")
                            found
                            expected)
        ]

/// The arguments of a call, from its opening bracket on; a list without brackets goes on to the end of the line.
let private arguments (text: string) (from: int) : string =
    let mutable depth, i = 0, from
    let ends () = i >= text.Length || depth = 0 && (text[i] = '\n' || text[i] = ')' || text[i] = ';') || depth < 0

    while not (ends ()) do
        match text[i] with
        | '('
        | '[' -> depth <- depth + 1
        | ')'
        | ']' -> depth <- depth - 1
        | _ -> ()

        i <- i + 1

    text.Substring(from, min i text.Length - from)

let private factory =
    Regex(
        @"\b(?:torch\.)(empty|zeros|ones|full|arange|linspace|logspace|eye|tensor|as_tensor|from_array|rand|randn|randint|randperm|normal|complex|tril_indices|triu_indices|frombuffer|empty_strided)(?![\w.])(?=\s*[\(\[a-z])"
    )

/// The sources with an extension in a folder of the project.
let files extension (folder: string) =
    Directory.EnumerateFiles(Path.Combine(Golden.root, folder), "*" + extension, SearchOption.AllDirectories)
    |> Seq.filter (fun path -> not (path.Contains "/obj/" || path.Contains "/bin/" || path.Contains "\\obj\\" || path.Contains "\\bin\\"))

let private text =
    testCase "every call in the library that makes a tensor says dtype and device" (fun () ->
        let sources = Seq.append (files ".fs" "src") (files ".cs" "src") |> List.ofSeq
        Expect.isGreaterThan sources.Length 50 "files"

        let calls =
            [
                for path in sources do
                    let text = File.ReadAllText path

                    for call in factory.Matches text do
                        let given = arguments text (call.Index + call.Length)
                        let line = text.Substring(0, call.Index) |> Seq.filter ((=) '\n') |> Seq.length
                        // A comment or a type names none.
                        let start = text.LastIndexOf('\n', call.Index) + 1

                        if not (text.Substring(start, call.Index - start).Contains "//") then
                            $"{Path.GetFileName path}:{line + 1}", given
            ]

        Expect.isGreaterThan calls.Length 20 "calls"

        let wrong =
            calls
            |> List.filter (fun (_, given) -> not (Regex.IsMatch(given, @"dtype\s*[=:]") && Regex.IsMatch(given, @"device\s*[=:]")))

        Expect.equal wrong [] "calls that leave dtype or device to torch")

let all = testList "defaults of torch" [ results; text ]
