/// Networks of few bits: what rounding keeps, what it costs, and what makes up for it.
module QuantizationLaws

open System
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

let private orStop (result: Result<'a, TensorNetError list>) : 'a = ok result

/// Bits and scales from a seed.
let private options (seed: int) : QuantizeOptions =
    let scales = [ Scales.PerCore; Scales.PerSlice; Scales.PerGroup(1 + seed % 7) ]
    { Quantization.defaults with Bits = 2 + seed % 7; Scales = scales[(seed / 7) % 3] }

let private covariance (seed: int) (n: int) =
    let root = noise seed [ n; n ]
    root.matmul root.mT

/// At times a weighted norm.
let private norm (case: FormatCase) : Norm =
    if case.Seed % 2 = 0 then
        Norm.Frobenius
    else
        Norm.Weighted([ 0 ], covariance case.Seed (Spec.dim case.Spec.Output.Head case.Spec))

/// ‖K − T‖ in a norm.
let private distance (norm: Norm) (k: torch.Tensor) (t: torch.Tensor) : float =
    let difference = k.minus t

    match norm with
    | Norm.Frobenius -> difference.norm().number()
    | Norm.Weighted(_, covariance) ->
        let rows = difference.reshape (difference.shape[0], -1L)
        rows.mul(covariance.matmul rows).sum().sqrt().number()

let private restored (network: QuantizedNetwork) : torch.Tensor =
    use cores = network.Restored torch.float64
    Contraction.reconstruct cores

/// ‖T‖ were all terms of one sign: what rounding to float32 is relative to, however much of T cancels.
let private reach (network: Network) : float =
    use scope = torch.NewDisposeScope()
    let cores = [| for core in network.Cores -> core.abs () |]
    Contraction.reconstruct(new Network(network.Spec, cores)).norm().number()

let private bad (expected: string) (result: Result<'a, TensorNetError list>) =
    match result with
    | Error [ TensorNetError.Unsupported(what, _, _) ] -> Expect.stringContains what expected "the option"
    | other -> failtestf "%A" other

/// Networks whose cores have hundreds of entries: few of them stand at the end of their scale, where nothing is rounded.
let private large =
    [
        [ 24; 9; 32 ], Format.CP 20
        [ 24; 9; 32 ], Format.Tucker2(12, 16)
        [ 16; 9; 16 ], Format.TensorChain [ 4; 5; 6 ]
        [ 12; 5; 5; 14 ], Format.TensorTrain [ 8; 12; 9 ]
        [ 30; 40 ], Format.TensorTrain [ 12 ]
        [ 12; 10; 14 ], Format.Tucker [ 7; 6; 8 ]
    ]

/// Rounding that is uniform to rounding's own accuracy: the share of E‖ΔT‖² that may be missed.
let private predictedWithin = 0.1

let private rounding =
    [
        law "integers fit the bits, have the shapes of the cores, and their bytes are counted" (fun (case: AnyNetwork) ->
            let options = options case.Seed
            use quantized = Quantization.round options (randomNetwork case.Seed case.Spec) |> orStop
            let largest = (1L <<< (options.Bits - 1)) - 1L

            for core, own in Seq.zip case.Spec.Cores quantized.Cores do
                Expect.equal (List.ofArray own.Integers.shape) (Spec.coreShape core case.Spec) "shape"
                Expect.equal own.Integers.dtype torch.int8 "integers"
                Expect.equal own.Scales.dtype torch.float32 "scales"

                let found = (own.Integers.``to`` torch.int64).abs().max().item<int64>()
                Expect.isLessThanOrEqual found largest "the largest integer"

            let packed =
                quantized.Cores |> Seq.sumBy (fun core -> (core.Integers.numel () * int64 options.Bits + 7L) / 8L)

            let scales =
                quantized.Cores |> Seq.distinctBy _.ScaleName |> Seq.sumBy (fun core -> 4L * core.Scales.numel ())

            Expect.equal quantized.Bytes (packed + scales) "bytes")
        law "an entry is within half a scale, or at the end of the range" (fun (case: AnyNetwork) ->
            // Scales of groups and of cores are the cores' own; those of slices are shared.
            let options =
                { options case.Seed with
                    Scales = if case.Seed % 2 = 0 then Scales.PerCore else Scales.PerGroup(2 + case.Seed % 5)
                }

            let network = randomNetwork case.Seed case.Spec
            use quantized = Quantization.round options network |> orStop
            let most = float ((1 <<< (options.Bits - 1)) - 1)

            for core, own in Seq.zip network.Cores quantized.Cores do
                let integers = own.Integers.``to`` torch.float64
                let scale = ScaleLayout.spread own.Layout own.Integers.shape (own.Scales.``to`` torch.float64)
                let off = core.div(scale).minus(integers).abs()
                let isInside = off.le (Num.tensor 0.5000001)
                let isEnd = integers.abs().ge(Num.tensor most)
                Expect.isTrue (isInside.logical_or(isEnd).all().truth()) "entries")
        law "what is rounded stays as it is when it is rounded again" (fun (case: AnyNetwork) ->
            let options = options case.Seed
            use once = Quantization.round options (randomNetwork case.Seed case.Spec) |> orStop
            use cores = once.Restored torch.float64
            use again = Quantization.round options cores |> orStop
            let moved = distance Norm.Frobenius (restored once) (restored again)
            Expect.isLessThanOrEqual moved (1e-5 * reach cores) "T")
        law "more bits lose less, up to what a finer grid can miss" (fun (case: FormatCase) ->
            let network = randomNetwork case.Seed case.Spec
            let t = Contraction.reconstruct network

            let error bits =
                use quantized = Quantization.round { options case.Seed with Bits = bits } network |> orStop
                distance Norm.Frobenius t (restored quantized)

            Expect.isLessThanOrEqual (error 8) (error 3 + 1e-6 * reach network) "8 bits and 3")
        testCase "what rounding loses is what the sensitivity says" (fun () ->
            for (shape, format), bits, scales in
                List.allPairs large [ 6; 7; 8 ]
                |> List.collect (fun (network, bits) -> [ network, bits, Scales.PerSlice; network, bits, Scales.PerCore ]) do
                use _ = torch.NewDisposeScope()
                let spec = Format.spec shape format |> Result.defaultWith (failtestf "%A")
                let options = { Quantization.defaults with Bits = bits; Scales = scales }

                let found, predicted =
                    [
                        for seed in 1..12 ->
                            let network = randomNetwork seed spec
                            use quantized = Quantization.round options network |> orStop
                            let lost = distance Norm.Frobenius (Contraction.reconstruct network) (restored quantized)
                            lost * lost, (Quantization.predicted options network |> orStop)
                    ]
                    |> List.unzip

                let ratio = List.sum predicted / List.sum found

                Expect.isLessThan (abs (ratio - 1.0)) predictedWithin $"{format} of {shape} at {bits} bits, {scales}")
    ]

/// How far the norm of scales that are told from sixteen rows and more may be from that of the best ones, as a share.
let private toldWithin = 0.15

let private told =
    [
        law "rows of zeros have the scale 0, and tell nothing of the scales of the others" (fun (case: AnyNetwork) ->
            let rows = 20L + int64 case.Seed % 50L
            let bits = 2 + case.Seed % 7
            // Every row, every other one, or those that a few rows taken at even distances would be.
            let every = [ 1L; 2L; max 1L (rows / 16L) ][case.Seed / 7 % 3]
            let zero = torch.arange (0L, rows, every)
            let core = (noise case.Seed [ rows; 40L ]).index_fill(0L, zero, 0.0.ToScalar())
            // Squares of the second leave the range of a double.
            let size = [ 1.0; 1e-200 ][case.Seed / 21 % 2]
            let layout = ScaleLayout.Along 0
            let estimated = NearestRounding.estimatedScales bits layout (core.mul (Num.tensor size))
            let best = NearestRounding.scales bits layout core
            Expect.isTrue (estimated.isfinite().all().truth()) "finite"
            Expect.equal (estimated.index_select(0L, zero).count_nonzero().integer()) 0L "rows of zeros"

            if every > 1L then
                let ratio = estimated.div(Num.tensor size).norm().number() / best.norm().number()
                Expect.isLessThan (abs (ratio - 1.0)) toldWithin $"the others, {bits} bits, {rows} rows")
    ]

/// The integers of X with the same U, its branches one by one or as one product.
let private kronecker (a: torch.Tensor) (b: torch.Tensor) = torch.kron (a, b)

let private madeUp =
    [
        costlyLaw "integers that are made up for are never farther from K than the nearest" (fun (case: FormatCase) ->
            let norm = norm case
            let options = { options case.Seed with Norm = norm }
            let network = randomNetwork case.Seed case.Spec
            let k = targetWith 0.1 case
            use nearest = Quantization.round options network |> orStop
            use fitted = Quantization.fit options k network |> orStop
            let before, after = distance norm k (restored nearest), distance norm k (restored fitted)
            // Scales are shared and kept in float32 after they are chosen.
            let room = 1e-6 * (reach network + before) * distance norm k (torch.zeros_like k) / k.norm().number()
            Expect.isLessThanOrEqual after (before * (1.0 + 1e-5) + room) $"{options.Bits} bits, {options.Scales}")
        testCase "making up gains at few bits where terms are alike" (fun () ->
            for shape, format in large do
                use _ = torch.NewDisposeScope()
                let spec = Format.spec shape format |> Result.defaultWith (failtestf "%A")
                // Entries of one sign have factors that are alike.
                let k = (noise 3 [ for n in shape -> int64 n ]).abs()
                let fit = Als.run { SweepOptions.defaults with MaxSweeps = 20 } k (randomNetwork 3 spec) |> orStop
                let options = { Quantization.defaults with Bits = 3 }
                use nearest = Quantization.round options fit.Network |> orStop
                use fitted = Quantization.fit options k fit.Network |> orStop

                let before, after =
                    distance Norm.Frobenius k (restored nearest), distance Norm.Frobenius k (restored fitted)

                let gain = (after - fit.Error) / (before - fit.Error)
                Expect.isLessThan gain 0.8 $"what is left of the loss, {format}")
        law "branches one by one are their product at once" (fun (case: FormatCase) ->
            let p, q, rows = 2 + case.Seed % 4, 1 + case.Seed % 5, 1 + case.Seed % 3
            let upper n seed = (noise seed [ n; n ]).triu().plus(torch.eye(n, dtype = torch.float64).mul(Num.tensor 3.0))
            let u, v = upper p case.Seed, upper q (case.Seed + 1)
            let x = noise (case.Seed + 2) [ rows; p; q ]
            let scales = torch.full_like (x, 0.3)
            let apart = CompensatedRounding.ofFactors 4 [ u; v ] scales x
            let flat (tensor: torch.Tensor) = tensor.reshape (int64 rows, int64 (p * q))
            let whole = CompensatedRounding.ofFactors 4 [ kronecker u v ] (flat scales) (flat x)
            Expect.isTrue (identical (flat apart) whole) "integers")
        costlyLaw "the correction that is told the bits weighs error and noise no worse than its start" (fun (case: FormatCase) ->
            let norm = norm case
            let options = { options case.Seed with Norm = norm; Bits = 3 + case.Seed % 4; Scales = Scales.PerSlice }
            let network = randomNetwork case.Seed case.Spec
            let k = targetWith 0.3 case
            let sweeps = { SweepOptions.defaults with MaxSweeps = 30 }

            // White noise of one size, whatever the scales: the value that sweeps lower.
            let sigma2 = 1e-3 * float (k.norm().number()) ** 2.0 / Sensitivity.value network
            let start = Gauge.balanceTruncated network |> orStop
            let value error s = error * error + sigma2 * s
            use fit = PenalizedSweeps.run sigma2 { sweeps with Norm = norm } k start |> orStop

            let before =
                value (distance norm k (Contraction.reconstruct start)) (Sensitivity.valueIn norm start |> orStop)

            Expect.isLessThanOrEqual (value fit.Error fit.Sensitivity) (before * (1.0 + 1e-9)) "the value"
            use told = Quantization.correct options sweeps k network |> orStop
            Expect.isLessThanOrEqual told.Sweeps 30 "sweeps")
    ]

let private sameIntegers (one: QuantizedNetwork) (other: QuantizedNetwork) =
    for a, b in Seq.zip one.Cores other.Cores do
        Expect.isTrue (identical a.Integers b.Integers) $"integers of {a.Name}"
        Expect.isTrue (identical (a.Scales.reshape -1L) (b.Scales.reshape -1L)) $"scales of {a.Name}"

/// A network with one core times a number and another over it.
let private regauged (first: int) (second: int) (factor: float) (network: Network) : Network =
    let scale i =
        if i = first then factor
        elif i = second then 1.0 / factor
        else 1.0

    new Network(network.Spec, [| for i, core in Seq.indexed network.Cores -> core.mul (Num.tensor (scale i)) |])

let private ranges =
    [
        law "a group of more entries than a core has is the core" (fun (case: AnyNetwork) ->
            use _ = torch.NewDisposeScope()
            let network = randomNetwork case.Seed case.Spec
            let most = network.Cores |> Seq.map _.numel() |> Seq.max |> int
            let entries = [ most; most + 1; Int32.MaxValue ][case.Seed % 3]
            let whole = { options case.Seed with Scales = Scales.PerCore }
            let grouped = { whole with Scales = Scales.PerGroup entries }
            use one = Quantization.round whole network |> orStop
            use other = Quantization.round grouped network |> orStop
            sameIntegers one other
            Expect.equal other.Bytes one.Bytes "bytes"
            Expect.equal (Quantization.predicted grouped network) (Quantization.predicted whole network) "predicted"
            let alone = { whole with Scales = Scales.PerGroup 1 }
            Expect.equal (Quantization.predicted alone network |> orStop) 0.0 "an entry alone stands on its grid")
        law "cores however far apart in size are rounded as well, or refused" (fun (case: AnyNetwork) ->
            use _ = torch.NewDisposeScope()
            let network = randomNetwork case.Seed case.Spec
            let count = Seq.length network.Cores

            if count > 1 then
                let first = case.Seed % count
                let factor = Math.ScaleB(1.0, case.Seed / 3 % 400 - 200)
                let moved = regauged first ((first + 1) % count) factor network
                let options = options case.Seed
                let t = Contraction.reconstruct network
                use plain = Quantization.round options network |> orStop

                match Quantization.round options moved with
                | Ok found ->
                    use found = found
                    let lost (rounded: QuantizedNetwork) = distance Norm.Frobenius t (restored rounded)
                    Expect.isLessThanOrEqual (lost found) (lost plain * 1.001 + 1e-4 * reach network) $"by {factor}"
                | Error errors ->
                    Expect.isTrue (abs (Math.Log10 factor) > 25.0 && errors |> List.forall _.IsOutOfRange) $"by {factor}: {errors}")
    ]

let private refusals =
    [
        testCase "a scale whose largest multiple float32 does not hold is refused, and the one below is not" (fun () ->
            use _ = torch.NewDisposeScope()
            let spec = Format.spec [ 4; 3; 5 ] (Format.CP 2) |> Result.defaultWith (failtestf "%A")

            for bits in 2..8 do
                for scales in [ Scales.PerCore; Scales.PerGroup 3 ] do
                    let options = { Quantization.defaults with Bits = bits; Scales = scales }
                    let most = float Single.MaxValue

                    for share, isHeld in [ 0.99, true; 3.0, false ] do
                        let network = randomNetwork bits spec
                        let core = network.Cores[0]
                        core.mul_ ((Num.tensor (share * most)).div(core.abs().max())) |> ignore

                        match Quantization.round options network with
                        | Ok found ->
                            use found = found
                            use back = found.Restored torch.float32
                            Expect.isTrue isHeld $"{bits} bits, {share} of the largest number"
                            Expect.isTrue (back.Cores |> Seq.forall (fun core -> core.isfinite().all().truth())) "finite"
                        | Error errors -> Expect.isTrue (not isHeld && errors |> List.forall _.IsOutOfRange) $"{bits} bits: {errors}")
        testCase "what a dtype does not hold and what is disposed is refused" (fun () ->
            use _ = torch.NewDisposeScope()
            let spec = Format.spec [ 4; 3; 5 ] (Format.CP 2) |> Result.defaultWith (failtestf "%A")
            let network = regauged 0 1 1e6 (randomNetwork 1 spec)

            let integers =
                Quantization.round { Quantization.defaults with Scales = Scales.PerCore } network |> orStop

            let refused (call: unit -> unit) (isExpected: TensorNetError -> bool) =
                let found =
                    try
                        call ()
                        []
                    with :? TensorNetException as problem ->
                        List.ofSeq problem.Errors

                Expect.isTrue (not found.IsEmpty && List.forall isExpected found) $"{found}"

            refused (fun () -> integers.Restored torch.float16 |> ignore) _.IsOutOfRange
            (integers :> IDisposable).Dispose()
            refused (fun () -> integers.Restored torch.float32 |> ignore) _.IsDisposed
            refused (fun () -> integers.Bytes |> ignore) _.IsDisposed)
        testCase "bits, groups, cores and targets that cannot be are refused by name" (fun () ->
            use _ = torch.NewDisposeScope()
            let spec = Format.spec [ 4; 3; 5 ] (Format.CP 2) |> Result.defaultWith (failtestf "%A")
            let network = randomNetwork 1 spec
            let k = Contraction.reconstruct network
            let few bits = { Quantization.defaults with Bits = bits }

            for bits in [ Int32.MinValue; 0; 1; 9; Int32.MaxValue ] do
                Quantization.round (few bits) network |> bad "bits"
                Quantization.fit (few bits) k network |> bad "bits"
                Quantization.predicted (few bits) network |> bad "bits"
                Quantization.correct (few bits) SweepOptions.defaults k network |> bad "bits"

            Quantization.round { Quantization.defaults with Scales = Scales.PerGroup 0 } network |> bad "group"
            network["A"].fill_(nan.ToScalar()) |> ignore

            match Quantization.round Quantization.defaults network with
            | Error [ TensorNetError.NotFinite(what, 8L) ] -> Expect.stringContains what "'A'" "the core"
            | other -> failtestf "%A" other)
        testSequenced (
            testCase "integers and scales are all that is left" (fun () ->
                let spec = Format.spec [ 6; 3; 5 ] (Format.CP 4) |> Result.defaultWith (failtestf "%A")
                use network = randomNetwork 1 spec
                use k = Contraction.reconstruct network

                let count (make: unit -> unit) =
                    make ()
                    let before = NativeTensors.settledCount ()
                    make ()
                    torch.Tensor.TotalCount - before

                let options = { Quantization.defaults with Bits = 4 }
                Expect.equal (count (fun () -> (Quantization.round options network |> orStop :> IDisposable).Dispose())) 0L "round"
                Expect.equal (count (fun () -> (Quantization.fit options k network |> orStop :> IDisposable).Dispose())) 0L "fit"
                Expect.equal (count (fun () -> Quantization.predicted options network |> orStop |> ignore)) 0L "predicted"

                let correct () =
                    (Quantization.correct options { SweepOptions.defaults with MaxSweeps = 6 } k network |> orStop :> IDisposable)
                        .Dispose()

                Expect.equal (count correct) 0L "correct")
        )
    ]

let all = testList "quantization" (rounding @ ranges @ told @ madeUp @ refusals)
