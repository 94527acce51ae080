/// The sensitivity of all layers as a penalty.
module PenaltyLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private make () : torch.nn.Module<Tensor, Tensor> =
    torch.random.manual_seed 5L |> ignore
    let a: Layer = torch.nn.Conv2d(3L, 6L, 3L, padding = 1L)
    let b: Layer = torch.nn.Conv2d(6L, 4L, 3L, padding = 1L)
    let model = torch.nn.Sequential(struct ("a", a), struct ("b", b))
    let options = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 3 } }

    for path, format in [ "a", Format.CP 4; "b", Format.Tucker2(3, 2) ] do
        Compress.layer options None format path model |> ok |> ignore

    model.``to`` torch.float64

let private scaled =
    testCase "the relative penalty does not change with the scale of kernels, and its gradient does not shrink them" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = make ()
        let value () = (SensitivityPenalty.relative model |> ok).ToDouble()
        let before = value ()
        (SensitivityPenalty.relative model |> ok).backward()

        for _, layer in Compress.factorized model do
            let along = Seq.sum [ for p in layer.Factors -> (nonNull p.grad).mul(p).sum().ToDouble() ]
            Expect.isLessThan (abs along) (1e-9 * before) "the gradient along the cores"

        use _ = torch.no_grad ()

        for i, (_, layer) in List.indexed (Compress.factorized model) do
            for p in layer.Factors do
                p.mul_ ((float (i + 2)).ToScalar()) |> ignore

        Expect.floatClose Accuracy.high (value ()) before "scaled")

let private readings =
    testCase "readings are those of each layer, and the penalty is the mean of theirs" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = make ()
        let first = SensitivityPenalty.readings model |> ok
        Expect.isTrue (first |> List.forall (fun reading -> Double.IsNaN reading.Gradient)) "no gradient yet"
        let penalty = SensitivityPenalty.relative model |> ok
        penalty.backward ()
        let read = SensitivityPenalty.readings model |> ok
        Expect.floatClose Accuracy.high (read |> List.averageBy _.Relative) (penalty.ToDouble()) "mean"

        for reading, (path, layer) in List.zip read (Compress.factorized model) do
            Expect.equal reading.Path path "path"
            Expect.floatClose Accuracy.high reading.Sensitivity (layer.Sensitivity().ToDouble()) "S"
            let squares = Seq.sum [ for p in layer.Factors -> (nonNull p.grad).square().sum().ToDouble() ]
            Expect.floatClose Accuracy.high reading.Gradient (sqrt squares) "gradient"

        use dense = torch.nn.Sequential(struct ("a", (torch.nn.Linear(2L, 2L): Layer)))
        Expect.isError (SensitivityPenalty.relative dense |> Result.map ignore) "no factorized layer")

let all = testList "penalties" [ scaled; readings ]
