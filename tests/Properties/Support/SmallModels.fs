/// Small models for the laws of whole models.
module SmallModels

open TorchSharp
open TensorNets

type Tensor = torch.Tensor
type Layer = torch.nn.Module<Tensor, Tensor>

/// Every kind of layer once, and one that stands at two places.
type EveryKind() as this =
    inherit torch.nn.Module<Tensor, Tensor>("EveryKind")
    let tied: Layer = torch.nn.Conv2d(6L, 6L, 3L, padding = 1L)
    let stem: Layer = torch.nn.Conv2d(3L, 6L, 3L, stride = 2L, padding = 1L)
    let norm: Layer = torch.nn.BatchNorm2d 6L
    let first: Layer = tied
    let second: Layer = tied
    let grouped: Layer = torch.nn.Conv2d(6L, 8L, 3L, padding = 1L, groups = 2L, bias = false)
    let depthwise: Layer = torch.nn.Conv2d(8L, 8L, 3L, padding = 1L, groups = 8L)
    let point: Layer = torch.nn.Conv2d(8L, 6L, 1L)
    let up: Layer = torch.nn.ConvTranspose2d(6L, 5L, 3L, stride = 2L)
    let line: Layer = torch.nn.Conv1d(5L, 6L, 3L, padding = 1L)
    let lineUp: Layer = torch.nn.ConvTranspose1d(6L, 4L, 2L, stride = 2L)
    let volume: Layer = torch.nn.Conv3d(4L, 4L, 2L)
    let head: Layer = torch.nn.Linear(4L, 7L)
    do this.RegisterComponents()

    override _.forward x =
        use scope = torch.NewDisposeScope()
        let y = norm.call(stem.call x).relu()
        let y = second.call (first.call(y).relu())
        let y = up.call (point.call (depthwise.call (grouped.call y)))
        let y = lineUp.call (line.call (y.flatten (2L)))
        let n = y.shape[2] / 8L
        let y = volume.call ((y.narrow (2L, 0L, n * 8L)).reshape(y.shape[0], 4L, 2L, 4L, n))
        head.call (y.mean [| 2L; 3L; 4L |]) |> scope.MoveToOuter

/// Its layers with a format for each, smaller than the dense kernel or not.
let everyKind: (string * Format) list =
    [
        "stem", Format.TensorTrain [ 2; 3 ]
        "first", Format.CP 5
        "grouped", Format.Tucker2(2, 3)
        "point", Format.Tucker2(3, 3)
        "up", Format.TensorChain [ 2; 2; 2 ]
        "line", Format.Tucker [ 3; 2; 3 ]
        "lineUp", Format.CP 4
        "volume", Format.BlockTerm(2, [ 2; 2; 2 ])
        "head", Format.TensorTrain [ 3 ]
    ]

/// Convolutions in a row, of the weights of a seed: name, channels in and out, and side of the kernel.
let convolutions (seed: int64) (layers: (string * int64 * int64 * int64) list) =
    torch.random.manual_seed seed |> ignore
    let conv (a: int64) (b: int64) (k: int64) : Layer = torch.nn.Conv2d(a, b, k, padding = k / 2L)
    torch.nn.Sequential [| for name, a, b, k in layers -> struct (name, conv a b k) |]

let images seed n : Tensor =
    use generator = new torch.Generator(uint64 seed)
    torch.randn ([| n; 3L; 12L; 12L |], dtype = torch.float32, device = torch.CPU, generator = generator)
