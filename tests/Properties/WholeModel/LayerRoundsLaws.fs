/// Large kernels in rounds that a run goes on from.
module LayerRoundsLaws

open System.IO
open System.Threading
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

let private options = { ModelCompression.defaults with Sweeps = 5; Corrections = 4; Tolerance = 0.0 }

let private kernelOf seed : Tensor =
    use generator = new torch.Generator(uint64 (seed: int))
    torch.randn ([| 8L; 9L; 10L |], dtype = torch.float32, generator = generator)

let private specs =
    [ Format.CP 7; Format.TensorChain [ 3; 3; 3 ]; Format.Tucker2(4, 5) ]
    |> List.map (fun format -> Format.spec [ 8; 9; 10 ] format |> Result.defaultWith (failwithf "%A"))

let private bitsOf (draft: LayerDraft.Draft) = [ for core in draft.Network.Cores -> bytesOf core ]

let private inFolder act =
    let folder = Directory.CreateTempSubdirectory "rounds"

    try
        act (Path.Combine(folder.FullName, "layer.draft.safetensors"))
    finally
        folder.Delete true

/// Rounds of a sweep each.
let private runTold told options path spec kernel =
    use _ = LayerRounds.ofFlops 1.0 told
    use _ = torch.NewDisposeScope()
    LayerRounds.run options path Norm.Frobenius spec kernel |> ok |> bitsOf

let private run options path spec kernel = runTold ignore options path spec kernel

/// Ends a run after so many rounds; how many there were.
let private ended rounds path spec kernel =
    use source = new CancellationTokenSource()
    let told = ref 0

    let count () =
        told.Value <- told.Value + 1

        if told.Value = rounds then
            source.Cancel()

    runTold count { options with Cancellation = source.Token } (Some path) spec kernel |> ignore
    told.Value

let private resumed =
    testCase "a run that is ended between any two rounds goes on to the same bits" (fun () ->
        for spec in specs do
            use kernel = kernelOf 3
            let counter = ref 0
            let whole = runTold (fun () -> counter.Value <- counter.Value + 1) options None spec kernel
            let all = counter.Value
            Expect.isGreaterThan all 4 "rounds"

            for rounds in 1 .. all - 1 do
                inFolder (fun path ->
                    Expect.equal (ended rounds path spec kernel) rounds "ended"
                    let left = ref 0
                    let resumed = runTold (fun () -> left.Value <- left.Value + 1) options (Some path) spec kernel
                    Expect.equal resumed whole $"{spec} after {rounds} rounds"
                    Expect.equal (rounds + left.Value) all "no round is made twice"))

let private read =
    testCase "what stands in the file is gone on from, unless it is of another shape or cannot be read" (fun () ->
        let spec = specs.Head

        inFolder (fun path ->
            use one = kernelOf 1
            use other = kernelOf 2
            let first = run options (Some path) spec one
            Expect.equal (run options (Some path) spec other) first "finished rounds are taken as they are"
            let whole = run options None spec other
            let bytes = File.ReadAllBytes path

            for length in [ 0; 7; 100; bytes.Length - 1 ] do
                File.WriteAllBytes(path, bytes[.. length - 1])
                Expect.equal (run options (Some path) spec other) whole $"cut to {length} bytes"

            SafeTensors.save path [ "draft", "1"; "spec", Spec.print spec; "fitting", "many" ] [] |> ok
            Expect.equal (run options (Some path) spec other) whole "words for numbers"
            use small = one.narrow(0L, 0L, 5L).contiguous()
            let narrow = Format.spec [ 5; 9; 10 ] (Format.CP 7) |> Result.defaultWith (failwithf "%A")
            Expect.equal (run options (Some path) narrow small) (run options None narrow small) "another shape"))

let private near =
    testCase "rounds reach what the run in one piece reaches" (fun () ->
        for spec in specs do
            use _ = torch.NewDisposeScope()
            let kernel = kernelOf 5
            let options = { options with Sweeps = 20; Corrections = 18 }
            let error (draft: LayerDraft.Draft) = (Contraction.reconstruct draft.Network - kernel).norm().item<float32>() |> float
            let s (draft: LayerDraft.Draft) = Sensitivity.value draft.Network
            let whole = LayerRounds.run options None Norm.Frobenius spec kernel |> ok

            use _ = LayerRounds.ofFlops 1.0 ignore
            let parts = LayerRounds.run options None Norm.Frobenius spec kernel |> ok
            // Both end at 1.02 of their own least squares.
            Expect.floatClose { absolute = 0.0; relative = 1e-2 } (error parts) (error whole) $"{spec}"
            // Each round looks for directions anew: three of six sweeps come near what one of eighteen does.
            Expect.isLessThan (s parts) (1.1 * s whole) $"S of {spec}")

let private tensors =
    testSequenced (
        testCase "a run in rounds leaves no tensors" (fun () ->
            use kernel = kernelOf 4

            for spec in specs do
                inFolder (fun path ->
                    let made () = run options (Some path) spec kernel |> ignore
                    made ()
                    let before = NativeTensors.settledCount ()
                    made ()
                    File.Delete path
                    made ()
                    Expect.equal torch.Tensor.TotalCount before $"{spec}"))
    )

let all = testList "rounds" [ resumed; read; near; tensors ]
