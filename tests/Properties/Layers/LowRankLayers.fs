/// Layers compressed by more ranks than their kernels have, to the rounding of the numbers they came in.
module LowRankLayers

open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// A dense layer whose kernel is that of a network of low rank, in float32.
let private dense seed (network: Format) =
    let conv = torch.nn.Conv2d(16L, 16L, kernel_size = 3L, padding = 1L)

    let spec =
        match Format.spec [ 16; 9; 16 ] network with
        | Ok spec -> spec
        | Error errors -> failtestf "%A" errors

    let kernel = Contraction.reconstruct (randomNetwork seed spec)
    use _ = torch.no_grad ()
    conv.weight.copy_ (kernel.permute([| 2L; 0L; 1L |]).reshape conv.weight.shape) |> ignore
    conv

let private split a b = DimTree.Split [ a; b ]

/// The format of the kernel, what is asked for, and the ranks that are found where they are known.
let private cases =
    [
        Format.TensorTrain [ 6; 6 ], Format.TensorTrain [ 10; 10 ], Some [ "a", 6; "b", 6 ]
        Format.TensorTrain [ 6; 6 ], Format.TensorTrain [ 4; 4 ], Some [ "a", 4; "b", 4 ]
        Format.Tucker2(8, 8), Format.Tucker2(12, 12), Some [ "a", 8; "b", 8 ]
        Format.CP 6, Format.Tucker2(10, 10), Some [ "a", 6; "b", 6 ]
        Format.Tucker2(8, 8), Format.Tucker [ 12; 9; 12 ], Some [ "a", 8; "b", 9; "c", 8 ]
        Format.CP 1, Format.TensorChain [ 9; 9; 9 ], None
        Format.CP 1, Format.BlockTerm(2, [ 4; 3; 4 ]), None
        Format.Tucker2(2, 1), Format.BlockTerm(2, [ 4; 3; 4 ]), None
        Format.TensorTrain [ 3; 3 ],
        Format.HierarchicalTucker(split (5, DimTree.Mode 0) (5, split (9, DimTree.Mode 1) (5, DimTree.Mode 2))),
        None
    ]

/// A dense layer of a kernel that is made of noise.
let private filled (made: torch.Tensor -> torch.Tensor) inputs () =
    let conv = torch.nn.Conv2d(inputs, 16L, kernel_size = 3L)
    use _ = torch.no_grad ()
    use _ = torch.NewDisposeScope()
    conv.weight.copy_ (made ((noise 7 conv.weight.shape).``to`` torch.float32)) |> ignore
    conv

/// Kernels that a user meets: a grey first layer copied to three colours, filters that are all equal, an average. They are constant along
/// some mode, so that the unfolding of another, which is given, tells all of their ranks.
let private ordinary: (string * (unit -> Modules.Conv2d) * int) list =
    let first dim (x: torch.Tensor) = x.narrow(dim, 0L, 1L).expand_as x

    [
        "grey, for three colours", filled (first 1L) 3L, 2
        "equal filters", filled (first 0L) 8L, 0
        "an average", filled (fun x -> torch.full_like (x, (1.0f / 9.0f).ToScalar())) 8L, 1
    ]

/// The kernel (in, positions, out), in float64.
let private kernelOf (conv: Modules.Conv2d) : torch.Tensor =
    conv.weight.detach().``to``(torch.float64).permute([| 1L; 2L; 3L; 0L |]).reshape(conv.in_channels, 9L, conv.out_channels)

/// The least error of a kernel that is a matrix, the rows of which lie along a mode, at a rank.
let private leastError (kernel: torch.Tensor) (mode: int) (rank: int) =
    let matrix = kernel.movedim([| int64 mode |], [| 0L |]).reshape(kernel.shape[mode], -1L)
    let values = torch.linalg.svdvals matrix

    if int64 rank >= values.numel () then
        0.0
    else
        values.narrow(0L, int64 rank, values.numel () - int64 rank).norm().number()

/// With the rank that a kernel has at most whose matrix is input channels by positions (0), positions by output channels (2).
let private formats: (KernelAxes * Format * (int -> int)) list =
    let of' inputs outputs mode = if mode = 0 then inputs else outputs

    [
        KernelAxes.Fused, Format.BlockTerm(2, [ 2; 3; 3 ]), of' 4 6
        KernelAxes.Fused, Format.BlockTerm(3, [ 3; 4; 4 ]), of' 9 12
        KernelAxes.Fused, Format.TensorChain [ 3; 3; 3 ], of' 9 9
        KernelAxes.Fused, Format.CP 5, of' 5 5
        KernelAxes.Fused, Format.TensorTrain [ 3; 7 ], of' 3 7
        KernelAxes.Fused, Format.Tucker [ 3; 5; 6 ], of' 3 5
        KernelAxes.Separate,
        Format.HierarchicalTucker(
            split (3, split (3, DimTree.Mode 0) (3, DimTree.Mode 1)) (3, split (3, DimTree.Mode 2) (7, DimTree.Mode 3))
        ),
        of' 3 3
    ]

let all =
    testList
        "low rank layers"
        [
            for kind, make, mode in ordinary do
                for axes, format, ranks in formats do
                    // Without a bound rings end where least squares creep.
                    for bound in
                        [
                            if not format.IsTensorChain then
                                None
                                Some 0.1
                        ] do
                        testCase $"{kind} by {format} at the bound {bound}: a layer within it, or the least error is said" (fun () ->
                            use _ = torch.NewDisposeScope()
                            use conv = make ()
                            let kernel = kernelOf conv
                            let norm = kernel.norm().number()
                            let best = leastError kernel mode (ranks mode)

                            match Layers.factorize Factorize.defaults axes (bound |> Option.map ErrorBound.Relative) format conv with
                            | Ok layer ->
                                use wide = Network.copyAs torch.float64 (layer.Network())
                                let error = kernel.minus((Contraction.reconstruct wide).reshape kernel.shape).norm().number()

                                match bound with
                                | Some bound -> Expect.isLessThanOrEqual error (bound * norm * (1.0 + 1e-9)) "the error"
                                | None -> Expect.isLessThanOrEqual error (1.01 * best + 5e-3 * norm) "the error beside the least"
                            | Error [ TensorNetError.Unreachable(bound, reached) ] ->
                                Expect.isGreaterThan best bound "a network within the bound exists"
                                Expect.isLessThanOrEqual reached (1.01 * best) "what is reached beside the least error"
                            | Error errors -> failtestf "%A" errors)
            for bound in [ None; Some 0.1; Some 1e-6 ] do
                testCase $"ones by a ring of ranks 9 at the bound {bound} are a layer of ones" (fun () ->
                    use _ = torch.NewDisposeScope()
                    use conv = filled torch.ones_like 16L ()
                    let kernel = kernelOf conv
                    let most = max 1e-6 (Option.defaultValue 0.0 bound)

                    use layer =
                        Layers.factorize
                            Factorize.defaults
                            KernelAxes.Fused
                            (bound |> Option.map ErrorBound.Relative)
                            (Format.TensorChain [ 9; 9; 9 ])
                            conv
                        |> ok

                    use wide = Network.copyAs torch.float64 (layer.Network())
                    let error = kernel.minus(Contraction.reconstruct wide).norm().div(kernel.norm ()).number()
                    Expect.isLessThanOrEqual error (most * (1.0 + 1e-9)) "the error")
            for low, asked, found in cases do
                testCase $"a kernel of {low} by {asked} is a layer of the ranks that it has" (fun () ->
                    use _ = torch.NewDisposeScope()
                    let conv = dense 5 low

                    use layer = Layers.factorize Factorize.defaults KernelAxes.Fused None asked conv |> ok

                    let dims = [ for axis, dim in Map.toList layer.Spec.Dims -> Axis.name axis, dim ] |> Map.ofList

                    for bond, rank in Option.defaultValue [] found do
                        Expect.equal dims[bond] rank $"bond {bond}"

                    let x = (noise 1 [ 1L; 16L; 5L; 5L ]).``to`` torch.float32
                    use _ = torch.no_grad ()
                    let out, dense = layer.forward x, conv.forward x

                    if asked <> Format.TensorTrain [ 4; 4 ] then
                        let kernel = conv.weight.permute([| 1L; 2L; 3L; 0L |]).reshape(16L, 9L, 16L)
                        use network = layer.Network()
                        let rest = (Contraction.reconstruct network).minus(kernel).norm().div(kernel.norm ()).number()
                        Expect.isLessThan rest 1e-2 "the kernel"
                        Expect.isLessThan (out.minus(dense).norm().div(dense.norm ()).number()) 3e-2 "the output")
        ]
