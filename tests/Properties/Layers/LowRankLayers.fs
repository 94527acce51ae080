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
    ]

let all =
    testList
        "low rank layers"
        [
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
