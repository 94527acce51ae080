/// The ranks of Tucker-2 networks in plans.
module Tucker2RanksLaws

open Expecto
open FsCheck
open TorchSharp
open TensorNets
open Generators
open SmallModels

let private few = { config with maxTest = 60 }

/// A kernel of modes 2 to 9, whose channels fall off by some rate: at 1 not at all.
let private kernelOf (seed: int) (size: int) (rate: float) : Tensor =
    use generator = new torch.Generator(uint64 seed)
    let s, d, t = 2 + size % 8, 1 + size / 8 % 4, 2 + size / 32 % 8
    let noise = torch.randn ([| int64 s; int64 d; int64 t |], dtype = torch.float64, generator = generator)
    let falling (n: int) = torch.tensor ([| for i in 0 .. n - 1 -> rate ** float i |], dtype = torch.float64)
    noise.mul(falling(s).reshape(int64 s, 1L, 1L)).mul(falling t)

/// The eigenvectors of the Gram of a mode, the largest eigenvalue last.
let private directions mode (kernel: Tensor) : Tensor =
    let m = KernelProjection.unfolded mode kernel
    let struct (_, vectors) = Decompose.eigh (m.matmul m.mT)
    vectors

let private best =
    testPropertyWithConfig
        few
        "what pairs of ranks keep is that of the projections, and the pair that is taken keeps most"
        (fun seed (PositiveInt size) ->
            use _ = torch.NewDisposeScope()
            let kernel = kernelOf (abs seed) size (if size % 2 = 0 then 1.0 else 0.7)
            let s, d, t = int kernel.shape[0], int kernel.shape[1], int kernel.shape[2]
            let first, last = directions 0 kernel, directions 2 kernel
            let kept = Tucker2Ranks.kept kernel first last

            let projected a b =
                let u, v = first.narrow (1L, int64 (s - a), int64 a), last.narrow (1L, int64 (t - b), int64 b)
                torch.einsum("sdt,sa,tb->adb", kernel, u, v).square().sum().item<float>()

            let whole = kernel.square().sum().item<float>()

            for a in 1..s do
                for b in 1..t do
                    Expect.isLessThan (abs (kept[a - 1, b - 1] - projected a b)) (1e-9 * whole) $"{a}, {b}"

            let parameters (a, b) = s * a + a * d * b + t * b

            for most in [ parameters (1, 1) - 1; parameters (1, 1); parameters (s / 2, t / 2); parameters (s, t) ] do
                let pairs =
                    [
                        for a in 1..s do
                            for b in 1..t do
                                if parameters (a, b) <= most && a <= d * b && b <= d * a then
                                    a, b
                    ]

                match Tucker2Ranks.within (float most) (s, d, t) kept with
                | None -> Expect.isEmpty pairs "pairs"
                | Some(a, b) ->
                    Expect.contains pairs (a, b) "within the size"
                    let greatest = pairs |> List.map (fun (a, b) -> kept[a - 1, b - 1]) |> List.max
                    Expect.isGreaterThanOrEqual kept[a - 1, b - 1] (greatest - 1e-9 * whole) "most")

let private even =
    testCase "a kernel whose channels count alike gets ranks that are alike" (fun () ->
        use _ = torch.NewDisposeScope()
        use model = convolutions 1L [ "a", 3L, 32L, 3L; "b", 32L, 32L, 3L; "c", 32L, 4L, 1L ]

        let options =
            { CompressionPlan.defaults with Families = [ FormatFamily.Tucker2 ]; Ratios = [ 2.0; 4.0 ] }

        let plan = CompressionPlan.make (Budget.ParameterRatio 1.5) options [ 1L; 3L; 8L; 8L ] model |> ok

        let isTucker2 (c: PlanCandidate) =
            match c.Format with
            | Format.Tucker2 _ -> true
            | _ -> false

        Expect.isTrue (plan.Layers[1].Candidates |> Seq.exists isTucker2) "candidates"

        for candidate in plan.Layers[1].Candidates do
            match candidate.Format with
            | Format.Tucker2(a, b) -> Expect.isLessThan (float (max a b) / float (min a b)) 2.0 $"{candidate}"
            | _ -> ())

let all = testList "Tucker-2 ranks" [ best; even ]
