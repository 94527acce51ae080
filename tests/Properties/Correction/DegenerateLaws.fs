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

/// The network with the slices of every bond scaled up in one of its cores and down in another, by powers of two: T to the bit.
let private slanted (seed: int) (network: Network) : Network =
    let random = Random seed
    let spec = network.Spec
    let cores = Seq.toArray network.Cores

    for axis in Spec.bonds spec do
        match Spec.carriers axis spec with
        | first :: second :: _ ->
            let powers = [| for _ in 1 .. Spec.dim axis spec -> random.Next(-150, 151) |]

            for core, sign in [ first, 1; second, -1 ] do
                let at = spec.Cores |> List.findIndex ((=) core)
                let shape = [| for other in core.Axes -> if other = axis then -1L else 1L |]
                let factors = torch.tensor ([| for e in powers -> Math.ScaleB(1.0, sign * e) |], dtype = torch.float64)
                cores[at] <- cores[at].mul(factors.reshape shape)
        | _ -> ()

    new Network(spec, cores)

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
            lawOver
                (degenerate [ nan; infinity; -infinity ] anyNetwork)
                "balance gives up where S is no number"
                (fun (case, fill, place, sliced) ->
                    let spec = case.Spec

                    let cores =
                        [| for core in (randomNetwork case.Seed spec |> filled fill place sliced).Cores -> core.clone () |]

                    let s, cycles, _ = Gauge.lenient Gauge.maxCycles (FreeBonds.ofSpec spec) (Sensitivity.plan spec) cores

                    if Double.IsNaN s then
                        Expect.isLessThanOrEqual cycles 1 "cycles")
            law "what is small in one core of a bond and large in another is no rounding" (fun (case: FormatCase) ->
                let network = randomNetwork case.Seed case.Spec
                let t = Contraction.reconstruct network
                let whole = Gauge.truncate network
                let cut = Gauge.truncate (slanted case.Seed network)
                Expect.equal cut.Spec whole.Spec "ranks"
                close 1e-11 (Contraction.reconstruct cut) t "T"
                // The same bonds with directions that nothing needs.
                let axis = Spec.bonds case.Spec |> List.head
                let wider = Spec.resized [ axis, Spec.dim axis case.Spec + 2 ] case.Spec

                let padded =
                    new Network(
                        wider,
                        [|
                            for core, tensor in Seq.zip case.Spec.Cores network.Cores do
                                if List.contains axis core.Axes then
                                    let place = int64 (List.findIndex ((=) axis) core.Axes)
                                    let shape = Array.updateAt (int place) 2L tensor.shape
                                    let carriers = Spec.carriers axis case.Spec

                                    let fresh =
                                        if core = carriers.Head then
                                            torch.zeros (shape, dtype = torch.float64)
                                        else
                                            noise 5 (List.ofArray shape)

                                    torch.cat ([| tensor; fresh |], place)
                                else
                                    tensor
                        |]
                    )

                let cut = Gauge.truncate (slanted case.Seed padded)
                Expect.equal cut.Spec whole.Spec "the ranks without them"

                // T is a sum of products of entries that may cancel: what rounds is of the size of the products.
                let products = padded.Cores |> Seq.fold (fun p core -> p * core.norm().number()) 1.0
                let difference = (Contraction.reconstruct cut).minus(t).norm().number()
                Expect.isLessThanOrEqual difference (1e-12 * products) "T without them")
            fewCases "the front and the least error end from any core" (fun (case: FormatCase, fill, place, sliced) ->
                let start = randomNetwork case.Seed case.Spec |> filled fill place sliced
                let k = targetWith 0.3 case

                ParetoFront.trace few [ 0.9; 0.5 ] k start
                |> ends "front" (fun front -> [ for point in front.Points -> point.Sensitivity ])

                LeastError.fit few 1.0 k start |> ends "least error" (fun fit -> [ fit.Error; fit.Sensitivity ])
                Correction.epc few (ErrorBound.Relative 0.9) k start |> ends "correction" (fun fit -> [])
                Als.run few k start |> ends "least squares" (fun fit -> []))
        ]
