/// The golden files that concern networks: sensitivities, solvers, correction, real kernels.
module GoldenLaws

open System.IO
open System.Text.Json
open Expecto
open TorchSharp
open TensorNets
open Golden

let private sensitivities =
    testList
        "sensitivity equals the brute-force Jacobian"
        [
            for file in names "sens_*.json" do
                fileTest "golden" file (fun path ->
                    use _ = torch.NewDisposeScope()
                    let e = json path
                    let net = network "cores" e
                    close 1e-12 (Contraction.reconstruct net) (tensor (e.GetProperty "T")) "T"
                    let cores = [ for core in net.Cores -> core.requires_grad_ true ]
                    let s = Sensitivity.total net
                    near 1e-12 (s.number ()) (number "sensitivity" e) "S"

                    List.zip (Sensitivity.ofCores net) (List.ofArray (floats (e.GetProperty "sensitivity_terms")))
                    |> List.iter (fun (term, expected) -> near 1e-12 (term.number ()) expected "term")

                    s.backward ()

                    List.zip cores (tensors (e.GetProperty "sensitivity_grad"))
                    |> List.iter (fun (core, expected) -> close 1e-11 (nonNull core.grad) expected "gradient"))
        ]

let private solvers =
    testList
        "solvers"
        [
            fileTest "golden" "linreg.json" (fun path ->
                use _ = torch.NewDisposeScope()

                for case in (json path).GetProperty("cases").EnumerateArray() do
                    let a, b = tensor (case.GetProperty "A"), tensor (case.GetProperty "B")
                    let x = ConstrainedQuadratics.leastNorm (number "delta" case) a b |> ok
                    let expected = tensor (case.GetProperty "X")

                    Expect.isLessThanOrEqual
                        (x.minus(expected).norm().number())
                        (1e-8 * expected.norm().number() + 1e-12)
                        (sprintf "X, delta %g" (number "delta" case))

                    Expect.isLessThanOrEqual
                        (x.matmul(a).minus(b).norm().number())
                        (number "delta" case * (1.0 + 1e-9) + 1e-12)
                        "the bound")
            fileTest "golden" "scqp.json" (fun path ->
                use _ = torch.NewDisposeScope()

                for case in (json path).GetProperty("cases").EnumerateArray() do
                    let q = torch.tensor (floats (case.GetProperty "q"), dtype = torch.float64)
                    let b = torch.tensor (floats (case.GetProperty "b"), dtype = torch.float64)
                    let x = ConstrainedQuadratics.sphereQuadratic q b |> ok
                    near 1e-12 (x.norm().number()) 1.0 "norm"
                    let f = 0.5 * x.mul(x).mul(q).sum().number() + x.mul(b).sum().number()
                    let expected = number "f" case

                    Expect.isLessThanOrEqual
                        (abs (f - expected))
                        (1e-10 * (1.0 + abs expected))
                        (sprintf "f of %O: %g %g" (case.GetProperty "name") f expected))
        ]

/// The least S among a file's entries that start at the given network and meet the bound.
let private leastFromStart (e: JsonElement) =
    let delta = number "delta" e

    [
        for name in [ "bcd"; "slsqp_from_init"; "slsqp_from_bcd"; "gauge_then_bcd"; "slsqp_from_gauge" ] do
            if has name e then
                let entry = e.GetProperty name

                if entry.ValueKind = JsonValueKind.Number then
                    entry.GetDouble()
                elif not (has "err" entry) || number "err" entry <= delta * (1.0 + 1e-9) then
                    number "sens" entry
    ]
    |> List.min

let private corrections =
    testList
        "correction"
        [
            for kind in [ "cpd"; "tucker2"; "tc"; "matrix"; "tt4"; "tr4"; "tucker3"; "hyper" ] do
                for file in names $"epc_{kind}_*.json" do
                    fileTest "golden" file (fun path ->
                        use _ = torch.NewDisposeScope()
                        let e = json path
                        let k = tensor (e.GetProperty "K")
                        let delta = number "delta" e
                        let net = network "init" e
                        near 1e-10 (Sensitivity.value net) (number "init_sens" e) "S at start"

                        // Every block step of the first sweep, without balancing.
                        let working = net.Cores |> Seq.map _.clone() |> Seq.toArray
                        let lookup = CoreArray.Lookup net.Spec working
                        let full = Plan.make Order.Auto net.Spec

                        for step in e.GetProperty("first_sweep_blocks").EnumerateArray() do
                            let i = step.GetProperty("block").GetInt32()
                            let block = LocalProblem.block net.Spec net.Spec.Cores[i]
                            let current = Fit.explicitError full k lookup

                            match Generators.corrected full block lookup k delta current with
                            | BlockResult.Moved(core, _)
                            | BlockResult.LeastSquares core ->
                                close 1e-8 core (tensor (step.GetProperty "core")) $"block {i}"
                                working[i] <- core
                            | BlockResult.Unchanged -> close 1e-8 working[i] (tensor (step.GetProperty "core")) $"block {i} kept"

                        let balanced = Gauge.balance net |> ok
                        let gaugeOnly = number "sens" (e.GetProperty "gauge_only")
                        Expect.isLessThanOrEqual (Sensitivity.value balanced) (gaugeOnly * (1.0 + 1e-9)) "balanced S"
                        close 1e-12 (Contraction.reconstruct balanced) (Contraction.reconstruct net) "T stays"

                        let options = { SweepOptions.defaults with MaxSweeps = 300; Tolerance = 1e-12 }

                        let fit = Correction.epc options (ErrorBound.Absolute delta) k net |> ok
                        Expect.isLessThanOrEqual fit.Error (delta * (1.0 + 1e-9)) "error"

                        // 300 sweeps after balancing, as the file's own run of that kind.
                        Expect.isLessThanOrEqual
                            fit.Sensitivity
                            (number "sens" (e.GetProperty "gauge_then_bcd") * (1.0 + 1e-6))
                            "S against 300 block sweeps from balanced"

                        // The joint optimum from the same start.
                        Expect.isLessThanOrEqual fit.Sensitivity (leastFromStart e * 1.01) "S against the joint optimum")
        ]

/// A kernel of ../shared/data as K[s, d, t], divided by its norm.
let realKernel (name: string) =
    let kernels, _ =
        safetensors (Path.Combine(root, "..", "shared", "data", "face-resnet-kernels.safetensors"))

    let w = kernels[name]
    let k = w.permute(1L, 2L, 3L, 0L).reshape(w.shape[1], w.shape[2] * w.shape[3], w.shape[0])
    k.div (k.norm ())

let realKernels =
    testList
        "real kernels"
        [
            for file in names "real_*.safetensors" do
                fileTest "golden" file (fun path ->
                    use _ = torch.NewDisposeScope()
                    let cores, meta = safetensors path
                    let value name = float meta[name]
                    let k = realKernel meta["kernel"]
                    let einsum = meta["network"].Replace(" ", "")
                    let letters = einsum.Split("->").[0].Split ','
                    let cores = [ cores["A"]; cores["B"]; cores["C"] ]

                    let dims =
                        Seq.map2
                            (fun (word: string) (core: torch.Tensor) -> Seq.zip (Seq.map string word) (Seq.map int core.shape))
                            letters
                            cores
                        |> Seq.concat
                        |> Seq.distinct
                        |> List.ofSeq

                    let net = networkOf (specOf einsum dims) cores
                    let norm = k.minus(Contraction.reconstruct net).norm().number()
                    near 1e-9 norm (value "relative_error") "relative error"
                    near 1e-9 (Sensitivity.value net) (value "S_start") "S at start"
                    let balanced = Gauge.balance net |> ok
                    near 1e-9 (Sensitivity.value balanced) (value "S_balanced") "balanced S"
                    close 1e-12 (Contraction.reconstruct balanced) (Contraction.reconstruct net) "T stays"

                    // The table of block sweeps: after as many sweeps, at the same error, at most that S.
                    let last = if meta.ContainsKey "sweeps_last" then int (value "sweeps_last") else 0

                    for sweeps, name in
                        [
                            60, "S_after_60_block_sweeps_from_balanced"
                            300, "S_after_300"
                            if last > 300 then
                                last, "S_last"
                        ] do
                        if meta.ContainsKey name then
                            let options = { SweepOptions.defaults with MaxSweeps = sweeps; Tolerance = 0.0 }
                            let fit = Correction.epc options (ErrorBound.Absolute norm) k net |> ok

                            Expect.isLessThanOrEqual fit.Error (norm * (1.0 + 1e-9)) "error"
                            Expect.isLessThanOrEqual fit.Sensitivity (value name * (1.0 + 1e-9)) $"S after {sweeps} sweeps")
        ]

let all = testList "golden" [ sensitivities; solvers; corrections; realKernels ]
