/// Starts from singular value decompositions: truncated at once or one after another, in full or with sketches.
module SvdLaws

open System.Diagnostics
open System.IO
open Expecto
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators

let private specOver (shape: int list) (format: Format) = ({ Shape = shape; Format = format; Seed = 0 }: FormatCase).Spec

/// A tree over a shape with admissible ranks, and a seed for its target.
[<StructuredFormatDisplay("{Text}")>]
type TreeCase =
    {
        Spec: Spec
        Seed: int
    }

    member this.Text = $"{Spec.print this.Spec} (seed {this.Seed})"

let private trees =
    gen {
        let! n = Gen.choose (3, 4)
        let! shape = Gen.listOfLength n (Gen.choose (2, if n = 3 then 8 else 5))
        let modes = [ for i in 0 .. n - 1 -> ModeTree.Mode i ]

        let! family =
            Gen.elements
                [
                    FormatFamily.Tucker
                    FormatFamily.Tucker2
                    FormatFamily.TensorTrain
                    FormatFamily.HierarchicalTucker(
                        ModeTree.Split
                            [
                                ModeTree.Split(List.take 2 modes)
                                (if n = 3 then modes[2] else ModeTree.Split(List.skip 2 modes))
                            ]
                    )
                    FormatFamily.HierarchicalTucker(
                        let tree = ModeTree.Split [ ModeTree.Split [ modes[2]; modes[0] ]; modes[1] ]
                        if n = 3 then tree else ModeTree.Split [ tree; modes[3] ]
                    )
                ]

        let spec =
            match FormatFamily.spec shape family with
            | Ok spec -> spec
            | Error errors -> failtestf "%A" errors

        let bonds = Spec.bonds spec
        let! ranks = Gen.listOfLength bonds.Length (Gen.choose (1, 4))
        let! seed = Gen.choose (0, 1_000_000)
        return { Spec = TreeRanks.admissible (Spec.resized (List.zip bonds ranks) spec); Seed = seed }
    }
    |> Arb.fromGen

let private target (case: TreeCase) = noise case.Seed (Spec.shape case.Spec)

let private sequential = { SvdOptions.defaults with Sequential = true }

let private sketching oversampling powers =
    { SvdOptions.defaults with Sketch = Some { Oversampling = oversampling; PowerIterations = powers } }

let private distance (k: torch.Tensor) (network: Network) = k.minus(Contraction.reconstruct network).norm().number()

let private squaredNorm (k: torch.Tensor) = k.squared().sum().number()

/// Σ over bonds of the squared singular values of the target that the ranks leave out.
let private leftOut (spec: Spec) (k: torch.Tensor) = TreeRanks.cost (TreeRanks.tails spec k) spec

let private truncation =
    testList
        "sequential truncation"
        [
            lawOver trees "the squared error is at most the sum over bonds of the squared singular values left out" (fun case ->
                let k = target case
                use network = SvdStart.startWith sequential 0UL case.Spec k |> ok
                Expect.isLessThanOrEqual (distance k network ** 2.0) (leftOut case.Spec k + 1e-13 * squaredNorm k) "squared error")
            lawOver trees "T is a projection of the target: the squares of T and of the error sum up to that of the target" (fun case ->
                let k = target case
                use network = SvdStart.startWith sequential 0UL case.Spec k |> ok
                let t = squaredNorm (Contraction.reconstruct network)
                Golden.near 1e-12 (t + distance k network ** 2.0) (squaredNorm k) "squares")
            lawOver trees "the error is at most √bonds of that of any network of these ranks" (fun case ->
                let k = target case
                use network = SvdStart.startWith sequential 0UL case.Spec k |> ok
                let options = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 20 } }
                use best = Factorize.runSpec options case.Spec k |> ok
                let bonds = float (Spec.bonds case.Spec).Length
                Expect.isLessThanOrEqual (distance k network) (sqrt bonds * best.Error + 1e-7 * k.norm().number()) "error")
            lawOver trees "a target of the ranks asked for comes back" (fun case ->
                let k = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
                use network = SvdStart.startWith sequential 0UL case.Spec k |> ok
                Expect.isLessThanOrEqual (distance k network) (1e-10 * k.norm().number()) "error")
            testCase "ranks that exceed what a branch has still leave a projection" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = Golden.specOf "sa,db,tc,abc->sdt" [ "s", 4; "d", 3; "t", 6; "a", 1; "b", 3; "c", 6 ]
                let k = noise 3 (Spec.shape spec)
                use network = SvdStart.startWith sequential 0UL spec k |> ok
                Golden.near 1e-12 (squaredNorm (Contraction.reconstruct network) + distance k network ** 2.0) (squaredNorm k) "squares")
        ]

let private columns =
    testList
        "CP"
        [
            for rank in [ 1; 3; 7 ] do
                for scale in [ 1.0; 1e-9; 1e200 ] do
                    testCase
                        $"rank {rank}, target times {scale}: the columns of all cores have one norm, also where a mode has fewer"
                        (fun () ->
                            use _ = torch.NewDisposeScope()
                            let spec = Format.spec [ 5; 2; 6 ] (Format.CP rank) |> Result.defaultWith (failwithf "%A")
                            let k = noise 4 [ 5L; 2L; 6L ] |> _.mul(Num.tensor scale)
                            use start = SvdStart.start 0UL spec k |> ok
                            let norms = torch.cat [| for core in start.Cores -> core.norm (0, false) |]
                            let largest = norms.max().number()
                            Expect.isGreaterThan largest 0.0 "norms"
                            Expect.isGreaterThan (norms.min().number()) (largest * (1.0 - 1e-12)) "the least of them")
        ]

/// A matrix of known singular values.
let private matrix (seed: int) (rows: int64) (columns: int64) (values: float list) =
    let orthonormal seed n =
        let struct (q, _) = torch.linalg.qr (noise seed [ n; int64 values.Length ])
        q

    (orthonormal seed rows).mul(torch.tensor (List.toArray values, dtype = torch.float64)).matmul((orthonormal (seed + 1) columns).mT)

/// The errors of the projection on r leading vectors of a matrix with σ_i = 1/i, over seeds, in units of the least error.
let private errors rank sketch =
    let values = [ for i in 1..60 -> 1.0 / float i ]
    let a = matrix 7 80L 90L values
    let least = values |> List.skip rank |> List.sumBy (fun v -> v * v) |> sqrt

    [
        for seed in 1UL .. 30UL ->
            use _ = torch.NewDisposeScope()
            use generator = new torch.Generator(seed)
            let u = RangeFinder.leading (Some sketch) generator rank a
            Golden.close 1e-12 (u.mT.matmul u) (torch.eye (int64 rank, dtype = torch.float64)) "orthonormal"
            a.minus(u.matmul (u.mT.matmul a)).norm().number() / least
    ]

let private sketches =
    testList
        "sketches"
        [
            for name, format in
                [
                    "Tucker", Format.Tucker [ 3; 4; 2 ]
                    "Tucker-2", Format.Tucker2(3, 2)
                    "tensor train", Format.TensorTrain [ 3; 4 ]
                    "hierarchical Tucker",
                    Format.HierarchicalTucker(
                        DimTree.Split [ 2, DimTree.Split [ 3, DimTree.Mode 0; 2, DimTree.Mode 1 ]; 2, DimTree.Mode 2 ]
                    )
                ] do
                for sequential in [ false; true ] do
                    testCase $"{name} of the ranks asked for comes back, sequential {sequential}" (fun () ->
                        use _ = torch.NewDisposeScope()
                        let spec = specOver [ 50; 40; 60 ] format
                        let k = Contraction.reconstruct (randomNetwork 4 spec)
                        let options = { sketching 5 1 with Sequential = sequential }
                        Expect.isSome (RangeFinder.width options.Sketch 4 40L 3000L) "a sketch is used"
                        use network = SvdStart.startWith options 1UL spec k |> ok
                        Expect.isLessThanOrEqual (distance k network) (1e-10 * k.norm().number()) "error")
            testCase "the vectors of a CP start span the unfoldings of a target of that rank" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = specOver [ 50; 40; 60 ] (Format.CP 4)
                let k = Contraction.reconstruct (randomNetwork 5 spec)
                use network = SvdStart.startWith (sketching 5 1) 1UL spec k |> ok

                for mode in 0..2 do
                    let a = k.movedim([| int64 mode |], [| 0L |]).reshape(k.shape[mode], -1L)
                    let u = network.Cores[mode].div(network.Cores[mode].norm(0, true))
                    Golden.close 1e-10 (u.matmul (u.mT.matmul a)) a $"mode {mode}")
            testCase "without power iterations the mean error is within the guarantee" (fun () ->
                use _ = torch.NewDisposeScope()

                for rank, oversampling in [ 5, 2; 5, 10; 20, 5 ] do
                    let mean = errors rank { Oversampling = oversampling; PowerIterations = 0 } |> List.average
                    Expect.isLessThanOrEqual mean (sqrt (2.0 + float rank / float (oversampling - 1))) $"rank {rank}, {oversampling} more"
                    Expect.isGreaterThanOrEqual mean 1.0 "no less than the least")
            testCase "each power iteration brings the error nearer to the least" (fun () ->
                use _ = torch.NewDisposeScope()
                let mean powers = errors 5 { Oversampling = 5; PowerIterations = powers } |> List.average
                let means = [ for powers in 0..3 -> mean powers ]

                for before, after in List.pairwise means do
                    Expect.isLessThan after before "mean error"

                Expect.isLessThanOrEqual means[2] 1.01 "after two")
            testCase "a sketch is used only where it takes no more products than the Gram" (fun () ->
                let sketch = Some { Oversampling = 10; PowerIterations = 2 }
                Expect.equal (RangeFinder.width sketch 10 120L 5000L) (Some 20) "20 vectors, 6 products"
                Expect.equal (RangeFinder.width sketch 11 120L 5000L) None "21 vectors"
                Expect.equal (RangeFinder.width sketch 10 5000L 119L) None "fewer columns"
                Expect.equal (RangeFinder.width None 1 5000L 5000L) None "none asked for")
            testCase "the same seed gives the same bits, another one others" (fun () ->
                use _ = torch.NewDisposeScope()
                let spec = specOver [ 50; 40; 60 ] (Format.Tucker2(2, 2))
                let k = noise 8 (Spec.shape spec)
                let core seed = (SvdStart.startWith (sketching 5 1) seed spec k |> ok).Cores[0]
                Expect.isTrue (identical (core 3UL) (core 3UL)) "same"
                Expect.isFalse (identical (core 3UL) (core 4UL)) "other")
        ]

let private options =
    testList
        "options"
        [
            costlyLaw "starts by default options and the default start are the same bits" (fun (case: FormatCase) ->
                let k = noise case.Seed (Spec.shape case.Spec)
                let run start = (Factorize.runSpec { Factorize.defaults with Start = start } case.Spec k |> ok).Network.Cores
                Seq.iter2 (fun a b -> Expect.isTrue (identical a b) "core") (run Start.Svd) (run (Start.SvdWith SvdOptions.defaults)))
            costlyLaw "least squares start from the network that the options name" (fun (case: FormatCase) ->
                let k = noise case.Seed (Spec.shape case.Spec)
                let still = { SweepOptions.defaults with MaxSweeps = 0 }

                let fit =
                    Factorize.runSpec { Factorize.defaults with Start = Start.SvdWith sequential; Sweeps = still } case.Spec k
                    |> ok

                let start = SvdStart.startWith sequential 0UL case.Spec k |> ok
                Seq.iter2 (fun a b -> Expect.isTrue (identical a b) "core") fit.Network.Cores start.Cores)
            testCase "impossible sketches are named" (fun () ->
                use _ = torch.NewDisposeScope()
                let k = noise 1 [ 4L; 3L; 4L ]

                let expected =
                    [
                        TensorNetError.Unsupported("Oversampling", "1", "2 or more")
                        TensorNetError.Unsupported("Power iterations", "-1", "0 or more")
                    ]

                for format in
                    [
                        Format.CP 2
                        Format.Tucker2(2, 2)
                        Format.TensorChain [ 1; 1; 1 ]
                        Format.BlockTerm(1, [ 1; 1; 1 ])
                    ] do
                    match Factorize.run { Factorize.defaults with Start = Start.SvdWith(sketching 1 -1) } format k with
                    | Ok _ -> failtest "accepted"
                    | Error errors -> Expect.equal errors expected "errors"

                    match SvdStart.startWith (sketching 1 -1) 0UL (specOver [ 4; 3; 4 ] format) k with
                    | Ok _ -> failtest "accepted"
                    | Error errors -> Expect.equal errors expected "errors")
        ]

/// Where a mode has few entries beside its rank, a start must not multiply an unfolding by every column.
let private memory =
    testCase "the start of a CP of many terms takes no tensor of its rank times the target" (fun () ->
        let peaks = "/proc/self/clear_refs"

        if not (File.Exists peaks) then
            skiptest "The system does not tell of peaks"

        use _ = torch.NewDisposeScope()
        let k = noise 1 [ 600L; 2L; 600L ]
        let spec = specOver [ 600; 2; 600 ] (Format.CP 1200)
        File.WriteAllText(peaks, "5")
        let before = Process.GetCurrentProcess().PeakWorkingSet64
        use start = SvdStart.start 1UL spec k |> ok
        Expect.equal start.Cores[1].shape [| 2L; 1200L |] "cores"
        // The product would have 1200 columns of 600 × 600, 3.5 GB; all cores have 12 MB.
        Expect.isLessThan (Process.GetCurrentProcess().PeakWorkingSet64 - before) 300_000_000L "bytes")

let all = testList "decompositions" [ truncation; sketches; options; columns; testSequenced memory ]
