/// Networks with cores that are zero, not finite, or of any size: what is exact stays exact, everything ends.
module DegenerateLaws

open System
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

/// What the entries of a core become, all of them or those of one slice.
let private fills = [ 0.0; nan; infinity; -infinity; 1e200; 1e-200 ]

let private degenerate (fills: float list) (draw: FsCheck.Gen<'T>) =
    Arb.fromGen (
        gen {
            let! case = draw
            let! fill = Gen.elements fills
            let! place = Gen.choose (0, 100)
            let! sliced = Gen.elements [ false; true ]
            return case, fill, place, sliced
        }
    )

/// The network with one of its cores, or one slice of it, filled.
let private filled (fill: float) (place: int) (sliced: bool) (network: Network) : Network =
    let spec = network.Spec
    let at = place % spec.Cores.Length

    let core i (tensor: torch.Tensor) =
        let fresh = tensor.clone ()

        if i = at then
            let part =
                if sliced && fresh.dim () > 0L then fresh.narrow (int64 place % fresh.dim (), 0L, 1L) else fresh

            part.fill_ (Scalar.op_Implicit fill) |> ignore

        fresh

    new Network(spec, [| for i, tensor in Seq.indexed network.Cores -> core i tensor |])

let private isFinite (network: Network) = network.Cores |> Seq.forall (fun core -> core.isfinite().all().truth())

let private truncates (spec: Spec) seed fill place sliced =
    let network = randomNetwork seed spec |> filled fill place sliced
    let cut = Gauge.truncate network

    for core, tensor in Seq.zip cut.Spec.Cores cut.Cores do
        Expect.equal (List.ofArray tensor.shape) (Spec.coreShape core cut.Spec) "the shape of a core"

    if isFinite network then
        let t = Contraction.reconstruct network
        let difference = (Contraction.reconstruct cut).minus(t).abs().max().number()
        Expect.isLessThanOrEqual difference (1e-11 * max 1.0 (t.abs().max().number())) "T"
        Expect.equal (Gauge.truncate cut).Spec cut.Spec "cut once"
    else
        Expect.equal cut.Spec network.Spec "nothing is cut of what is not finite"

let private few = { SweepOptions.defaults with MaxSweeps = 3 }

/// A result, or typed errors; the numbers that come out are finite wherever the start is.
let private ends (what: string) (numbers: 'T -> float list) (result: Result<'T, TensorNetError list>) =
    match result with
    | Ok found ->
        for number in numbers found do
            Expect.isFalse (Double.IsNaN number) what
    | Error errors -> Expect.isNonEmpty errors what

/// A tenth of the cases: each takes several corrections.
let private fewCases name check =
    testPropertyWithConfig
        { config with maxTest = max 10 (cases / 10) }
        name
        (Prop.forAll (degenerate fills formatCase) (fun case ->
            use _ = torch.NewDisposeScope()
            check case))

let all =
    testList
        "degenerate"
        [
            lawOver (degenerate fills anyNetwork) "any network is truncated once and for all" (fun (case, fill, place, sliced) ->
                truncates case.Spec case.Seed fill place sliced)
            lawOver (degenerate fills formatCase) "any format is truncated once and for all" (fun (case, fill, place, sliced) ->
                truncates case.Spec case.Seed fill place sliced)
            fewCases "the front and the least error end from any core" (fun (case: FormatCase, fill, place, sliced) ->
                let start = randomNetwork case.Seed case.Spec |> filled fill place sliced
                let k = targetWith 0.3 case

                ParetoFront.trace few [ 0.9; 0.5 ] k start
                |> ends "front" (fun front -> [ for point in front.Points -> point.Sensitivity ])

                LeastError.fit few 1.0 k start |> ends "least error" (fun fit -> [ fit.Error; fit.Sensitivity ])
                Correction.epc few (ErrorBound.Relative 0.9) k start |> ends "correction" (fun fit -> [])
                Als.run few k start |> ends "least squares" (fun fit -> []))
        ]
