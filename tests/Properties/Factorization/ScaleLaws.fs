/// Targets of any size: what is found does not depend on their units, or is said to leave its range.
module ScaleLaws

open System
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

let private few = { SweepOptions.defaults with MaxSweeps = 4 }
let private options = { Factorize.defaults with Sweeps = few }

/// A case, and the power of two of its units: those far enough from one to count are multiples of the number of cores, so that they part
/// evenly.
let private scaled =
    Arb.fromGen (
        gen {
            let! case = formatCase
            let! share = Gen.choose (20, 900)
            let! sign = Gen.elements [ -1; 1 ]
            let cores = case.Spec.Cores.Length
            return case, sign * cores * max 1 (share / cores)
        }
    )

/// A tenth of the cases: each takes ten factorizations.
let private fewCases cases name check =
    testPropertyWithConfig
        { config with maxTest = max 10 (Generators.cases / 10) }
        name
        (Prop.forAll cases (fun case ->
            use _ = torch.NewDisposeScope()
            check case))

/// The fit of K 2^e is that of K to the bit, but for the units, since both are found in the same ones and powers of two round nothing; or
/// what leaves the range is named.
let private agrees
    (what: string)
    (e: int)
    (cores: int)
    (plain: Result<Fit, TensorNetError list>)
    (other: Result<Fit, TensorNetError list>)
    =
    match plain, other with
    | Ok plain, Ok other ->
        let share = e / cores
        let ofS = Math.ScaleB(plain.Sensitivity, 2 * (e - share))
        Expect.equal other.Network.Spec plain.Network.Spec $"{what}: ranks"
        Expect.equal other.RelativeError plain.RelativeError $"{what}: relative error"
        Expect.equal other.Error (Math.ScaleB(plain.Error, e)) $"{what}: error"

        // Below the smallest normal number a double has fewer digits.
        if ofS >= 2.3e-308 then
            Expect.equal other.Sensitivity ofS $"{what}: S"

        Expect.equal other.Sweeps plain.Sweeps $"{what}: sweeps"

        for core, found, expected in Seq.zip3 plain.Network.Spec.Cores other.Network.Cores plain.Network.Cores do
            Expect.isTrue (found.eq(Num.shifted share expected).all().truth()) $"{what}: core {core.Name}"
    | _, Error errors ->
        for error in errors do
            match error with
            | TensorNetError.OutOfRange(_, log10, _) -> Expect.isGreaterThan (abs log10) 300.0 what
            | TensorNetError.Unreachable(bound, reached) ->
                match plain with
                | Error [ TensorNetError.Unreachable(plainBound, plainReached) ] ->
                    Expect.equal bound (Math.ScaleB(plainBound, e)) $"{what}: the bound that is missed"
                    Expect.equal reached (Math.ScaleB(plainReached, e)) $"{what}: what is reached instead"
                | _ -> failtest $"{what}: {error.Message}"
            | TensorNetError.RankDeficientBond _ -> Expect.isError plain what
            | other -> failtest $"{what}: {other.Message}"
    | Error _, Ok _ -> failtest $"{what}: an error in plain units alone"

let private doors (case: FormatCase) (k: torch.Tensor) (start: Network) (exponentOfS: int) =
    [
        "least squares", Als.run few k start
        "factorization", Factorize.runSpec options case.Spec k
        "correction", Correction.epc few (ErrorBound.Relative 0.5) k start
        "stable", Factorize.stableSpec options (Some(ErrorBound.Relative 0.6)) case.Spec k
        // A bound on S is a double.
        if abs exponentOfS < 1000 then
            "least error", LeastError.fit few (Math.ScaleB(1.0, exponentOfS)) k start
    ]

let private inUnits (e: int) (network: Network) = new Network(network.Spec, [| for core in network.Cores -> Num.shifted e core |])

let all =
    testList
        "targets of any size"
        [
            fewCases scaled "what is found does not depend on the units" (fun (case, e) ->
                let cores = case.Spec.Cores.Length
                let k = targetWith 0.3 case
                let start = randomNetwork (case.Seed + 5) case.Spec
                let other = doors case (Num.shifted e k) (inUnits (e / cores) start) (2 * (e - e / cores))

                for (what, plain), (_, other) in Seq.zip (doors case k start 0) other do
                    agrees what e cores plain other)
            fewCases scaled "the front does not depend on the units" (fun (case, e) ->
                let cores = case.Spec.Cores.Length
                let k = targetWith 0.3 case
                let start = randomNetwork (case.Seed + 5) case.Spec

                match
                    ParetoFront.trace few [ 0.9; 0.6 ] k start,
                    ParetoFront.trace few [ 0.9; 0.6 ] (Num.shifted e k) (inUnits (e / cores) start)
                with
                | Ok plain, Ok other ->
                    Expect.equal (List.ofSeq other.Unreached) (List.ofSeq plain.Unreached) "bounds"

                    for plain, other in Seq.zip plain.Points other.Points do
                        agrees "point" e cores (Ok plain.Fit) (Ok other.Fit)
                | _, Error errors -> Expect.isNonEmpty errors "typed"
                | Error _, Ok _ -> failtest "the front")
            for family in [ FormatFamily.CP; FormatFamily.Tucker; FormatFamily.TensorTrain; FormatFamily.TensorChain ] do
                testCase $"the smallest network within a bound does not depend on the units: {family}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let k = noise 3 [ 4L; 3L; 5L ]
                    let plain = Factorize.toBound options (ErrorBound.Relative 0.5) family k |> ok

                    for e in [ -480; 480 ] do
                        let other = Factorize.toBound options (ErrorBound.Relative 0.5) family (Num.shifted e k) |> ok
                        Expect.equal other.Network.Spec plain.Network.Spec "ranks"
                        Expect.equal other.RelativeError plain.RelativeError "error")
            testCase "float32 targets up to the ends of their range" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 3 [ 6L; 9L; 8L ]
                let k = k.div (k.abs().max())

                for format in
                    [
                        Format.CP 3
                        Format.Tucker [ 2; 2; 2 ]
                        Format.TensorTrain [ 3; 3 ]
                        Format.TensorChain [ 2; 2; 2 ]
                    ] do
                    for scale in [ 3e38; 1e30; 1e-30; 1e-36 ] do
                        let k = k.mul(Num.tensor scale).``to`` torch.float32

                        for bound in [ None; Some(ErrorBound.Relative 0.99) ] do
                            let fit = Factorize.stable options bound format k |> ok

                            for core in fit.Network.Cores do
                                Expect.isTrue (core.isfinite().all().truth()) "finite"

                            Expect.isLessThan fit.RelativeError 1.0 "something is found")
            testCase "an S that no double holds is named with its logarithm" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = (noise 3 [ 4L; 3L; 5L ]).mul(Num.tensor 1e300)

                match Factorize.run options (Format.CP 2) k with
                | Error [ TensorNetError.OutOfRange("The sensitivity", log10, "Float64") ] ->
                    Expect.isTrue (log10 > 390.0 && log10 < 410.0) $"{log10}"
                | other -> failtestf "%A" other)
            fewCases scaled "a start that is many powers of two from its target ends in finite numbers or a typed error" (fun (case, e) ->
                let k = targetWith 0.3 case

                for dtype, far in [ torch.float64, e / case.Spec.Cores.Length; torch.float32, sign e * 100 ] do
                    use start = randomNetwork (case.Seed + 5) case.Spec
                    use start = inUnits far (Network.copyAs dtype start)

                    for target in [ k; Num.shifted (-e / 2) k ] do
                        for result in [ Als.run few target start; Correction.epc few (ErrorBound.Relative 0.9) target start ] do
                            match result with
                            | Ok fit ->
                                Expect.isTrue (System.Double.IsFinite fit.RelativeError) $"{dtype}: error {fit.RelativeError}"

                                for core in fit.Network.Cores do
                                    Expect.isTrue (core.isfinite().all().truth()) $"{dtype}: finite cores"
                            | Error errors -> Expect.isNonEmpty errors "typed")
        ]
