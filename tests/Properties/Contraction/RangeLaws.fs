/// Norms and S of networks of any size: right, or said to be outside the dtype with their logarithm.
module RangeLaws

open System
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

/// A line of cores with modes and bonds of one dimension each, open at its ends or closed.
let private line (closed: bool) (modes: int) (bond: int) (count: int) : Spec =
    let axis (prefix: string) i = Axis $"{prefix}{i}"

    let axes i =
        [
            if closed || i > 0 then
                axis "b" i
            axis "s" i
            if closed || i < count - 1 then
                axis "b" ((i + 1) % count)
        ]

    let bonds = [ for i in (if closed then 0 else 1) .. count - 1 -> axis "b" i, bond ]
    let opened = [ for i in 0 .. count - 1 -> axis "s" i ]

    Spec.create (bonds @ [ for axis in opened -> axis, modes ]) [ for i in 0 .. count - 1 -> { Name = $"C{i}"; Axes = axes i } ] opened
    |> specOk

/// Cores over one rank.
let private star (modes: int) (rank: int) (count: int) : Spec =
    let opened = [ for i in 0 .. count - 1 -> Axis $"s{i}" ]

    Spec.create
        ((Axis "r", rank) :: [ for axis in opened -> axis, modes ])
        [ for i, axis in List.indexed opened -> { Name = $"C{i}"; Axes = [ axis; Axis "r" ] } ]
        opened
    |> specOk

let private filled (dtype: torch.ScalarType) (value: int -> float) (spec: Spec) =
    new Network(
        spec,
        [|
            for i, core in Seq.indexed spec.Cores ->
                torch.full (Spec.coreShape core spec |> List.toArray, Scalar.op_Implicit (value i), dtype = dtype)
        |]
    )

/// Of a number that is 10^log in a dtype: the number, or the error that names the logarithm.
let private holdsOrSays (dtype: torch.ScalarType) (log: float) (what: string) (make: unit -> torch.Tensor) =
    let most, least = if dtype = torch.float32 then 38.5, -37.9 else 308.2, -307.6
    let digits = if dtype = torch.float32 then 1e-4 else 1e-9

    if log < most && log > least then
        let found: torch.Tensor = make ()
        Expect.equal found.dtype dtype what
        Expect.isLessThan (abs (Math.Log10(found.number ()) - log)) (digits * 0.5) $"{what}: found {found.number ()}, expected 1e{log}"
    elif log > most + 0.1 || log < least - 8.0 then
        let said =
            try
                make () |> ignore
                None
            with :? TensorNetException as error ->
                Seq.tryHead error.Errors

        match said with
        | Some(TensorNetError.OutOfRange(_, found, _)) -> Expect.isLessThan (abs (found - log)) 1e-3 what
        | other -> failtestf "%s: expected the error that names 1e%g, found %A" what log other

let private agrees (dtype: torch.ScalarType) (logNorm: float) (logS: float) (network: Network) =
    holdsOrSays dtype logNorm "norm" (fun () -> Contraction.norm network)
    holdsOrSays dtype logS "S" (fun () -> Sensitivity.total network)
    holdsOrSays torch.float64 logS "S as a number" (fun () -> torch.tensor (Sensitivity.value network, dtype = torch.float64))
    let rounding = if dtype = torch.float32 then 1e-4 else 1e-9
    Expect.isLessThan (abs ((Contraction.log10Norm network).number() - logNorm)) rounding "log10 of the norm"
    Expect.isLessThan (abs ((Sensitivity.log10 network).number() - logS)) rounding "log10 of S"
    Expect.equal (Sensitivity.log10 network).dtype dtype "dtype"

let private dtypes = [ torch.float32; torch.float64 ]

/// Cores of ones, times scales: what T, its norm and S are can be said at once.
let private closedForms =
    [
        for dtype in dtypes do
            for closed, modes, bond, count, scale in
                [
                    false, 10, 1, 40, 1.0
                    if dtype = torch.float64 then
                        false, 10, 2, 400, 1.0
                    true, 10, 2, 30, 1e12
                    false, 3, 2, 60, 1e-7
                    true, 5, 3, 30, 0.01
                    false, 2, 2, 5, 1e-30
                    true, 2, 2, 4, 1e30
                ] do
                let shape = if closed then "ring" else "chain"

                testCase $"a {shape} of {count} cores of {scale}, modes {modes}, bonds {bond}, {dtype}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    // As the dtype holds it.
                    let scale = if dtype = torch.float32 then float (float32 scale) else scale
                    let network = line closed modes bond count |> filled dtype (fun _ -> scale)
                    let bonds = if closed then count else count - 1
                    let log (x: float) = Math.Log10 x
                    // Every entry of T is scale^count bond^bonds.
                    let entry = float count * log scale + float bonds * log (float bond)
                    let norm = entry + 0.5 * float count * log (float modes)

                    // Every entry of the environment of a core is scale^(count - 1) times the sums over the bonds that it does not carry.
                    let term inner =
                        log (float modes)
                        + 2.0 * (float (count - 1) * log scale + float inner * log (float bond))
                        + float (count - 1) * log (float modes)
                        + float (bonds - inner) * log (float bond)

                    let terms =
                        [ for i in 0 .. count - 1 -> term (bonds - (if closed || i > 0 && i < count - 1 then 2 else 1)) ]

                    let largest = List.max terms
                    let s = largest + log (terms |> List.sumBy (fun term -> Math.Pow(10.0, term - largest)))
                    agrees dtype norm s network)
    ]

/// Networks of few and of many cores, with a power of two for each core.
let private scaledCases =
    Arb.fromGen (
        gen {
            let! seed = Gen.choose (0, 1_000_000)
            let! count = Gen.elements [ 2; 3; 4; 7; 16; 40 ]
            let! bond = Gen.choose (1, 3)
            let! kind = Gen.elements [ 0; 1; 2 ]
            let! most = Gen.elements [ 3; 40; 400; 900 ]
            let! powers = Gen.listOfLength count (Gen.choose (-most, most))

            let spec =
                match kind with
                | 0 -> line false 2 bond count
                | 1 when count > 2 -> line true 2 bond (min count 20)
                | _ -> star 2 bond count

            return spec, seed, powers |> List.truncate spec.Cores.Length
        }
    )

let private log2 (log10: torch.Tensor) = log10.number () / Math.Log10 2.0

/// Networks whose terms all get the same power of two: S is that of the plain network times it, exactly.
let private evenly (spec: Spec, seed: int, powers: int list) =
    let network = randomNetwork seed spec
    let e = powers.Head
    let n = spec.Cores.Length
    let scaled = new Network(spec, [| for core in network.Cores -> Num.shifted e core |])
    let plan = Sensitivity.plan spec
    let total (network: Network) = Sensitivity.scaledTotal plan torch.float64 torch.CPU (Network.lookup network)
    let plain, other = total network, total scaled
    let x, y = plain.Value.number (), other.Value.number ()
    // As mantissa and exponent.
    let parts (x: float) e = Math.ScaleB(x, -(Math.ILogB x)), Math.ILogB x + e
    let mantissa, exponent = parts x plain.Exponent
    let otherMantissa, otherExponent = parts y other.Exponent
    Expect.equal otherExponent (exponent + 2 * (n - 1) * e) "exponent"
    near 1e-13 otherMantissa mantissa "mantissa"

/// Powers of two that differ from core to core: each term and the norm by their own.
let private unevenly (spec: Spec, seed: int, powers: int list) =
    let network = randomNetwork seed spec
    let scaled = new Network(spec, [| for e, core in Seq.zip powers network.Cores -> Num.shifted e core |])
    let all = float (List.sum powers)
    let norm = log2 (Contraction.log10Norm network)
    near 1e-10 (log2 (Contraction.log10Norm scaled) - all) norm "norm"

    if spec.Cores.Length <= 12 then
        // S is the sum of its terms, each with the powers of all cores but one.
        let logs =
            [
                for e, term in Seq.zip powers (Sensitivity.ofCores network) -> Math.Log2(term.number ()) + 2.0 * (all - float e)
            ]

        let largest = List.max logs
        let s = largest + Math.Log2(logs |> List.sumBy (fun log -> Math.Pow(2.0, log - largest)))
        Expect.isLessThan (abs (log2 (Sensitivity.log10 scaled) - s)) (1e-12 * (1.0 + abs s) + 1e-10) "S"

/// Gradients of log10 S and of log10 of the norm in cores scaled by c are those of the plain ones over c.
let private slopes (spec: Spec, seed: int, powers: int list) =
    let gradients (make: Network -> torch.Tensor) (network: Network) =
        let cores = [| for core in network.Cores -> core.detach().clone().requires_grad_ true |]
        (make (new Network(spec, cores))).backward()
        [ for core in cores -> nonNull core.grad ]

    let e = max -300 (min 300 powers.Head)
    let network = randomNetwork seed spec
    let scaled = new Network(spec, [| for core in network.Cores -> Num.shifted e core |])

    for make in [ Sensitivity.log10; Contraction.log10Norm ] do
        for plain, other in Seq.zip (gradients make network) (gradients make scaled) do
            close 1e-9 (Num.shifted e other) plain "gradient"

let private few name check =
    testPropertyWithConfig
        { config with maxTest = max 10 (cases / 8) }
        name
        (Prop.forAll scaledCases (fun case ->
            use _ = torch.NewDisposeScope()
            check case))

let all =
    testList
        "norms and sensitivities of any size"
        [
            testCase "a tensor that no memory holds is refused, its norm is not" (fun () ->
                use _ = torch.NewDisposeScope()
                let axes = [ for i in 1..60 -> $"a{i}" ]
                let cores, dims = String.Join(",", axes), [ for axis in axes -> axis, 4 ]
                let spec = Spec.parse dims $"""{cores} -> {String.Join("", axes)}""" |> specOk
                let network = randomNetwork 1 spec
                let refused = Expect.throwsC (fun () -> Contraction.reconstruct network |> ignore) id
                Expect.stringContains refused.Message "1.33E+36 entries" "the error"
                let log10 = network.Cores |> Seq.sumBy (fun core -> Math.Log10(core.norm().number()))
                near 1e-9 ((Contraction.log10Norm network).number()) log10 "the norm")
            testCase "a network that no memory holds is refused" (fun () ->
                let spec = Spec.parse [] "ab -> ab | a=2147483647 b=2147483647" |> specOk
                let refused = Expect.throwsC (fun () -> Network.random torch.float32 1UL spec |> ignore) id
                Expect.stringContains refused.Message "4.61E+18 entries" "the error")
            yield! closedForms
            few "S of cores scaled by a power of two is S times its powers" evenly
            few "cores of different powers of two give the norm and the terms theirs" unevenly
            few "gradients of logarithms do not depend on the size" slopes
            testCase "gradients of S beyond the plain range" (fun () ->
                use _ = torch.NewDisposeScope()
                // S within the range of a double, though the products on the way are not.
                let spec = line false 4 2 30
                let powers = [ for i in 0..29 -> if i < 15 then 80 else -80 ]
                let network = randomNetwork 3 spec

                let scaled =
                    [|
                        for e, core in Seq.zip powers network.Cores -> (Num.shifted e core).detach().clone().requires_grad_ true
                    |]

                let s = Sensitivity.total (new Network(spec, scaled))
                s.backward ()
                Expect.isTrue (scaled |> Array.forall (fun core -> (nonNull core.grad).isfinite().all().truth())) "finite"
                // Euler: S is of degree 2 (N - 1) in all cores together.
                let sum =
                    Seq.zip scaled powers |> Seq.sumBy (fun (core, _) -> core.mul(nonNull core.grad).sum().number())

                near 1e-9 sum (2.0 * 29.0 * s.number ()) "Euler")
            testCase "a network says that its dtype does not hold its S" (fun () ->
                use _ = torch.NewDisposeScope()
                let network = star 4 2 4 |> filled torch.float32 (fun _ -> 1e10)
                Expect.throwsT<TensorNetException> (fun () -> Sensitivity.total network |> ignore) "S"
                Expect.isError (Sensitivity.totalIn Norm.Frobenius network) "as a result"
                near 1e-5 (Sensitivity.value network) (Sensitivity.value (Network.copyAs torch.float64 network)) "as a number")
            for dtype, count, bond, scale in
                [
                    torch.float32, 40, 2, 1.0
                    torch.float64, 120, 2, 1e3
                    torch.float64, 60, 2, 1e-4
                    torch.float64, 20, 2, 1e-100
                    torch.float64, 6, 2, 1e100
                ] do
                testCase $"a chain of {count} cores of about {scale} is balanced, {dtype}" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let spec = line false 10 bond count
                    let random = Random 5
                    use noise = Network.random torch.float64 3UL spec
                    // Uneven: no core is like another.
                    let factor () = Num.tensor (scale * 3.0 * Math.Pow(10.0, random.NextDouble() * 4.0 - 2.0))
                    let network = new Network(spec, [| for core in noise.Cores -> core.mul(factor ()).``to`` dtype |])
                    let balanced = Gauge.balance network |> ok
                    let log (x: torch.Tensor) = x.number ()
                    let rounding = if dtype = torch.float32 then 1e-4 else 1e-9
                    let before, after = log (Contraction.log10Norm network), log (Contraction.log10Norm balanced)
                    Expect.isLessThan (abs (before - after)) rounding "the norm"
                    Expect.isLessThan (log (Sensitivity.log10 balanced)) (log (Sensitivity.log10 network)) "S"
                    let again = Gauge.balance balanced |> ok
                    Expect.isLessThan (abs (log (Sensitivity.log10 again) - log (Sensitivity.log10 balanced))) rounding "once and for all"
                    let sizes = balanced.Cores |> Seq.map (fun core -> Math.Log10(Check.norm core)) |> List.ofSeq
                    Expect.isLessThan (List.max sizes - List.min sizes) 1.5 "shared evenly")
        ]
