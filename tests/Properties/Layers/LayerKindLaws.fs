/// Every kind of layer, with every option, by every lowering, is the dense layer with the kernel that its network contracts to.
module LayerKindLaws

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open TorchSharp
open TensorNets
open Generators
open Golden

[<StructuredFormatDisplay("{Text}")>]
type LayerCase =
    {
        Geometry: ConvGeometry
        Axes: KernelAxes
        Kind: int
        Bias: bool
        Batched: bool
        Seed: int
    }

    member this.Text =
        $"%A{this.Geometry} {this.Axes} format {this.Kind} bias {this.Bias} batched {this.Batched} seed {this.Seed}"

    override this.ToString() = this.Text

let private numbers n low high = Gen.listOfLength n (Gen.choose (low, high)) |> Gen.map (List.map int64)

/// Padding in numbers, or 'same'.
let private padding (kernel: int64 list) (dilation: int64 list) same =
    gen {
        let! amounts = numbers kernel.Length 0 1

        return
            if same then
                List.map2 (fun k d -> let total = d * (k - 1L) in struct (total / 2L, total - total / 2L)) kernel dilation
            else
                amounts |> List.map (fun p -> struct (p, p))
    }

let private geometry =
    gen {
        let! n, transposed = Gen.elements [ 0, false; 1, false; 2, false; 2, false; 3, false; 1, true; 2, true ]
        let! groups = Gen.elements [ 1; 1; 2; 3 ]
        let groups = if n = 0 then 1 else groups
        let! s, t = Gen.zip (Gen.choose (1, 4)) (Gen.choose (1, 4))
        let! kernel = numbers n 1 3
        let! same = Gen.elements [ true; false; false ]
        let same = same && not transposed
        let! stride = numbers n 1 3
        let! dilation = numbers n 1 2
        let! amounts = padding kernel dilation same

        let! mode =
            Gen.elements
                [
                    PaddingModes.Zeros
                    PaddingModes.Zeros
                    PaddingModes.Reflect
                    PaddingModes.Replicate
                    PaddingModes.Circular
                ]

        let! extra = Gen.choose (0, 1)
        // TorchSharp's 'same' pads the dimensions in the opposite order unless with zeros; its output padding is one for all.
        let padding = if same && mode <> PaddingModes.Zeros then List.rev amounts else amounts
        let extra = if transposed && List.forall (fun s -> s > 1L) stride then int64 extra else 0L

        return
            {
                InChannels = int64 (s * groups)
                OutChannels = int64 (t * groups)
                Kernel = kernel
                Stride = if same then List.replicate n 1L else stride
                Dilation = dilation
                Padding = padding
                PaddingMode = if transposed then PaddingModes.Zeros else mode
                Groups = int64 groups
                Transposed = transposed
                OutputPadding = List.replicate n extra
                Embedding = None
            }
    }

let private layerCase =
    gen {
        let! g = geometry
        let! axes = Gen.elements [ KernelAxes.Fused; KernelAxes.Separate ]
        let! kind = Gen.choose (0, 7)
        let! bias = Gen.elements [ true; false ]
        let! batched = Gen.elements [ true; true; false ]
        let! seed = Gen.choose (0, 1_000_000)
        return { Geometry = g; Axes = axes; Kind = kind; Bias = bias; Batched = batched; Seed = seed }
    }

let private cases =
    Arb.fromGenShrink (
        layerCase,
        (fun c ->
            seq {
                if c.Bias then
                    { c with Bias = false }
            })
    )

let private target (c: LayerCase) =
    let g = c.Geometry

    [
        int (g.InChannels / g.Groups)
        if not g.Kernel.IsEmpty then
            if c.Axes = KernelAxes.Fused then int (List.fold (*) 1L g.Kernel) else yield! List.map int g.Kernel
        int (g.OutChannels / g.Groups)
    ]

/// A format by number, at ranks that any shape admits; a matrix takes those that a matrix has.
let private formatOf (c: LayerCase) =
    let shape = target c
    let n = shape.Length
    let two = if List.min shape > 1 then 2 else 1

    let candidates =
        match c.Kind with
        | 0 -> [ Format.CP 2 ]
        | 1 -> [ Format.Tucker2(two, two) ]
        | 2 -> [ Format.TensorChain(List.replicate n 2); Format.TensorChain(List.replicate n 1) ]
        | 3 -> [ Format.TensorTrain(List.replicate (n - 1) 2); Format.TensorTrain(List.replicate (n - 1) 1) ]
        | 4 -> [ Format.Tucker(List.replicate n two) ]
        | 5 -> [ Format.BlockTerm(2, List.replicate n 1) ]
        | 6 -> [ Format.Dense ]
        | _ ->
            let leaves ranks = ranks |> List.mapi (fun i _ -> 1, DimTree.Mode i)

            [
                Format.TensorTrainMatrix([ 1; shape.Head ], [ List.last shape; 1 ], [ 1 ])
                Format.HierarchicalTucker(DimTree.Split(leaves shape))
            ]

    candidates @ [ Format.CP 1 ]
    |> List.find (fun format -> (Layers.spec c.Axes c.Geometry format).IsOk)

/// The spec of a case; none for depthwise groups, which formats refuse.
let private specOf (c: LayerCase) =
    let g = c.Geometry

    if g.Groups > 1L && g.Groups = g.InChannels && g.Groups = g.OutChannels then
        Spec.parse [] $"gsr, dr, gtr -> gsdt | g={g.Groups} s=1 d={List.fold (*) 1L g.Kernel} t=1 r=2"
        |> function
            | Ok spec -> spec
            | Error errors -> failtestf "%A" errors
    else
        Layers.spec c.Axes g (formatOf c) |> ok

let private network dtype (c: LayerCase) = Network.random dtype (uint64 c.Seed) (specOf c)

let private bias (c: LayerCase) = if c.Bias then Some(noise (c.Seed + 3) [ c.Geometry.OutChannels ]) else None

let private layer lowering (c: LayerCase) = Layers.ofNetwork (Some lowering) c.Geometry (bias c) (network torch.float64 c) |> ok

let private input (c: LayerCase) =
    noise
        (c.Seed + 1)
        [
            if c.Batched then
                2L
            c.Geometry.InChannels
            yield! List.truncate c.Geometry.Kernel.Length [ 6L; 5L; 7L ]
        ]

let private law name check = lawOver cases name check

let private near what (actual: torch.Tensor) (expected: torch.Tensor) =
    Expect.equal (List.ofArray actual.shape) (List.ofArray expected.shape) $"{what}: shape"
    let scale = 1.0 + expected.detach().norm().number()
    Expect.isLessThanOrEqual (actual.detach().minus(expected.detach ()).norm().number()) (1e-10 * scale) what

let private lowerings (c: LayerCase) =
    [
        if Convolution.canStage c.Geometry (specOf c) then
            Lowering.Staged
        Lowering.Windowed
        Lowering.Dense
        Lowering.Cheapest
        Lowering.Measured
    ]

let private gradients (layer: FactorizedLayer) = [ for struct (name, p) in layer.named_parameters () -> name, (nonNull p.grad).clone() ]

let private equality =
    testList
        "equals the dense layer"
        [
            law "the kernel is the network's tensor, as ConvGeometry.weightOfKernel lays it" (fun c ->
                use layer = layer Lowering.Dense c
                use network = layer.Network()
                let shape = [| for n in ConvGeometry.kernelShape c.Geometry -> int64 n |]
                let kernel = (Contraction.reconstruct network).reshape shape
                near "kernel" (layer.Kernel()) (ConvGeometry.weightOfKernel c.Geometry kernel))
            law "forward, every lowering" (fun c ->
                let x = input c

                for lowering in lowerings c do
                    use layer = layer lowering c
                    use dense = layer.ToDense()
                    near $"{lowering}" (layer.call x) (dense.call x)
                    // Weights are kept there, and stages priced without their contraction.
                    use _ = torch.no_grad ()

                    for _ in 1..2 do
                        near $"{lowering}, no gradients" (layer.call x) (dense.call x))
            law "gradients of input, bias and cores, every lowering" (fun c ->
                for lowering in lowerings c do
                    use layer = layer lowering c
                    use dense = layer.ToDense()
                    let x1, x2 = (input c).requires_grad_ true, (input c).requires_grad_ true
                    let y = layer.call x1
                    let weights = noise (c.Seed + 2) y.shape
                    y.mul(weights).sum().backward()
                    dense.call(x2).mul(weights).sum().backward()
                    near $"{lowering}: input" (nonNull x1.grad) (nonNull x2.grad)
                    let found = gradients layer
                    layer.zero_grad ()
                    layer.Kernel().mul(nonNull (nonNull (dense.get_parameter "weight")).grad).sum().backward()

                    for name, gradient in found do
                        if name = "bias" then
                            near $"{lowering}: bias" gradient (nonNull (nonNull (dense.get_parameter "bias")).grad)
                        else
                            near $"{lowering}: {name}" gradient (nonNull (nonNull (layer.get_parameter name)).grad))
            law "a network that is made into a dense layer and back keeps its geometry" (fun c ->
                use layer = layer Lowering.Dense c
                use dense = layer.ToDense()
                let geometry, weight, _ = ConvGeometry.ofDense dense |> ok

                let expected =
                    if geometry.PaddingMode = PaddingModes.Constant then
                        PaddingModes.Constant
                    else
                        c.Geometry.PaddingMode

                Expect.equal { geometry with PaddingMode = expected } c.Geometry "geometry"
                near "weight" weight (layer.Kernel())
                near "kernel" (ConvGeometry.weightOfKernel geometry (ConvGeometry.kernelOfWeight geometry weight)) weight)
        ]

let private picked (places: int64[]) (x: torch.Tensor) = if places.Length = 0 then x else x.index_select (1L, torch.tensor places)

/// A stage applied to each block of channels by itself.
let private applied (x: torch.Tensor) (stage: LayerStage) =
    let g = stage.Geometry
    let blocks = (picked stage.Order x).reshape [| -1L; g.InChannels; yield! x.shape[2..] |]

    let y =
        if g.Kernel.IsEmpty then
            torch.nn.functional.conv1d(blocks.unsqueeze -1L, stage.Weight.unsqueeze -1L, groups = g.Groups).squeeze -1L
        else
            TorchConvolution.dense g blocks.shape[0] (List.ofArray blocks.shape[2..]) stage.Weight null blocks

    y.reshape [| x.shape[0]; stage.Blocks * g.OutChannels; yield! y.shape[2..] |]

let private stages =
    testList
        "stages"
        [
            law "one after the other, with the bias at last, are the layer; sizes that are not known change nothing" (fun c ->
                let c = { c with Batched = true }
                let x = input c
                use layer = layer Lowering.Dense c
                use network = layer.Network()
                LayerStages.check c.Geometry network.Spec |> ok

                for size in [ []; List.ofArray x.shape[2..] ] do
                    let staged = LayerStages.ofNetwork c.Geometry size None network |> ok
                    let y = picked staged.Order (List.fold applied x staged.Stages)

                    let bias =
                        match bias c with
                        | Some bias -> bias.reshape [| 1L; -1L; yield! List.replicate c.Geometry.Kernel.Length 1L |]
                        | None -> torch.zeros (1L, dtype = torch.float64)

                    near $"%A{size}" (y + bias) (layer.call x))
        ]

let all = testList "layer kinds" [ equality; stages ]
