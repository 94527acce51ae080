/// Every kernel against its reference twin, libtorch in float64: tails of every length, memory that is not aligned and lies between NaN,
/// freed memory full of NaN.
module KernelLaws

open Expecto
open TorchSharp
open TensorNets
open Generators
open DenseKinds

/// A kernel and its twin, called with operands of the shapes given.
type private Case =
    {
        Name: string
        DType: torch.ScalarType
        Shapes: int list list
        Own: torch.Tensor list -> torch.Tensor
        Twin: torch.Tensor list -> torch.Tensor
    }

/// A hundred or so products in a sum, of numbers of size one: a few units of the last place.
let private rounding (dtype: torch.ScalarType) = if dtype = torch.float32 then 1e-5 else 1e-13

/// Numbers of NaN on either side of an operand.
let private margin = 24L

/// An operand whose first entry lies `offset` entries from a cache line, and the memory that it lies in.
let private placed (dtype: torch.ScalarType) (offset: int64) (x: torch.Tensor) : torch.Tensor * torch.Tensor =
    let count = x.numel ()

    let memory = torch.full ([| count + 2L * margin |], nan.ToScalar(), dtype = dtype, device = torch.CPU)

    let inside = memory.narrow (0L, margin + offset, count)
    inside.copy_ (x.reshape -1L) |> ignore
    memory, inside.view(x.shape).detach().requires_grad_ true

/// Freed memory full of NaN: whoever reads what nobody wrote shows it.
let private poison () =
    for n in [ 300L; 3_000L; 30_000L; 300_000L ] do
        use _ = torch.full ([| n |], nan.ToScalar(), dtype = torch.float32, device = torch.CPU)
        ()

let private results (f: torch.Tensor list -> torch.Tensor) (operands: torch.Tensor list) : torch.Tensor list =
    let y = f operands

    if y.requires_grad then
        y.mul((noise 99 y.shape).``to`` y.dtype).sum().backward()

    y.detach () :: [ for x in operands -> if isNull x.grad then torch.zeros_like x else nonNull x.grad ]

let private holds (case: Case) =
    for offset in [ 0L; 1L; 7L ] do
        use _ = torch.NewDisposeScope()

        let numbers =
            case.Shapes |> List.mapi (fun i shape -> noise (i + 1) (shape |> List.map int64 |> List.toArray))

        let memories, operands = numbers |> List.map (placed case.DType offset) |> List.unzip
        poison ()
        let own = results case.Own operands

        let exact =
            results case.Twin (numbers |> List.map (fun x -> x.``to``(torch.float64).detach().requires_grad_ true))

        for i, (a, b) in List.indexed (List.zip own exact) do
            let error = a.``to``(torch.float64).minus(b).norm().number() / (1e-30 + b.norm().number())
            Expect.isLessThan error (rounding case.DType) $"{case.Name} {case.Shapes}, offset {offset}, {i}"

        for memory in memories do
            Expect.equal (memory.isnan().sum().item<int64>()) (2L * margin) $"{case.Name} {case.Shapes} wrote beside an operand"

let private law name (cases: Case list) = testCase name (fun () -> List.iter holds cases)

let private products =
    law
        "products of matrices"
        [
            for n in 16..50 do
                for dtype in [ torch.float32; torch.float64 ] do
                    {
                        Name = "product"
                        DType = dtype
                        Shapes = [ [ 16 + n % 9; 16 + n % 7 ]; [ 16 + n % 7; n ] ]
                        Own = fun x -> MatMul.Of(x[0], x[1])
                        Twin = fun x -> x[0].matmul x[1]
                    }
        ]

let private transposes =
    law
        "transposes"
        [
            for rows in 1..18 do
                for columns in 1..18 do
                    {
                        Name = "transpose"
                        DType = if columns % 2 = 0 then torch.float32 else torch.float64
                        Shapes = [ [ 2; rows; columns ] ]
                        Own = fun x -> Transpose.Of(2, rows, columns, x[0].detach())
                        Twin = fun x -> x[0].detach().transpose(1L, 2L)
                    }
        ]

let private pointwise =
    law
        "convolutions of one position"
        [
            for width in 4..21 do
                for output in [ Channels.First; Channels.Last ] do
                    {
                        Name = $"pointwise, {output}"
                        DType = torch.float32
                        Shapes = [ [ 16 + width; 16 + width % 5 ]; [ 2; 16 + width % 5; 4; width ] ]
                        Own = fun x -> Kernels.pointwise output x[0] null x[1]
                        Twin = fun x -> torch.nn.functional.conv2d (x[1], x[0].unsqueeze(-1L).unsqueeze -1L)
                    }
        ]

let private depthwise =
    law
        "convolutions of a kernel for each channel"
        [
            for width in 1..40 do
                let window: ConvWindow =
                    { Height = 1 + width % 4; Width = width; Rows = 3; Columns = 3; Above = 1; Left = 1 }

                {
                    Name = "depthwise"
                    DType = torch.float32
                    Shapes = [ [ 3; 9 ]; [ 2; 3; window.Height; width ] ]
                    Own = fun x -> Kernels.depthwise window x[0] x[1]
                    Twin =
                        fun x ->
                            let ones = [| 1L; 1L |]
                            torch.nn.functional.conv2d (x[1], x[0].view(3L, 1L, 3L, 3L), null, ones, ones, ones, 3L)
                }
        ]

let private dense =
    law
        "convolutions of all channels with all"
        [
            for height in 1..6 do
                for width in 1..6 do
                    {
                        Name = "dense"
                        DType = torch.float32
                        Shapes = [ [ 16; 32; 3; 3 ]; [ 16 ]; [ 2; 32; height; width ] ]
                        Own = fun x -> DenseConvolution.Of(ConvWindow.Of(x[2].shape, 3, 3, 1, 1), x[0], x[1], x[2])
                        Twin = fun x -> torch.nn.functional.conv2d (x[2], x[0], x[1], [| 1L; 1L |], [| 1L; 1L |])
                    }
        ]

let private cpKernels =
    law
        "kernels of CP"
        [
            for rank in 32..66 do
                let s, d = 16 + rank % 5, 1 + rank % 18

                {
                    Name = "kernel of CP"
                    DType = torch.float32
                    Shapes = [ [ 16 + rank % 9; rank ]; [ s; rank ]; [ d; rank ] ]
                    Own = fun x -> CpKernel.Of(x[0], x[1], x[2])
                    Twin = fun x -> torch.einsum ("tr,sr,dr->tsd", x[0], x[1], x[2])
                }
        ]

/// (G + λ)⁻¹ D by the tridiagonal form.
let private tridiagonal =
    law
        "tridiagonal systems"
        [
            for n in 1..40 do
                let definite (x: torch.Tensor) = x.matmul(x.mT).div(float(2 * n).ToScalar()).add(0.5.ToScalar()).detach()

                let gram (x: torch.Tensor) = (definite x).plus(torch.eye (int64 n, dtype = torch.float64, device = torch.CPU))

                {
                    Name = "tridiagonal"
                    DType = torch.float64
                    Shapes = [ [ n; 2 * n ]; [ n; 1 + n % 19 ] ]
                    Own =
                        fun x ->
                            let t, d = Tridiagonal.reduce (gram x[0]), x[1].detach()
                            let u = torch.empty_like d
                            Tridiagonal.solve t 0.3 (Tridiagonal.into t d) null u |> ignore
                            Tridiagonal.back t u
                    Twin =
                        fun x ->
                            let eye = torch.eye (int64 n, dtype = torch.float64, device = torch.CPU)
                            torch.linalg.solve ((gram x[0]).plus(eye.mul (0.3.ToScalar())), x[1].detach())
                }
        ]

let private switch =
    testCase "a scope without kernels switches off itself, its gradients and what it starts, and nothing beside it"
    <| fun () ->
        let before = Kernels.isOn ()
        let square () = torch.ones ([| 64L; 64L |], dtype = torch.float32, device = torch.CPU)

        Kernels.withoutKernels (fun () ->
            use _ = torch.NewDisposeScope()
            Expect.isFalse (Kernels.isOn ()) "in it"
            Expect.isFalse (Kernels.takes (square ())) "inputs"
            Expect.isFalse (System.Threading.Tasks.Task.Run(Kernels.isOn).Result) "a task that it starts"
            Kernels.withoutKernels ignore
            Expect.isFalse (Kernels.isOn ()) "after a scope in it"
            let window = ConvWindow.Of([| 1L; 64L; 56L; 56L |], 3, 3, 1, 1)
            Expect.isTrue (Kernels.seconds (ConvCall.Dense(1L, 64L, 64L, window))).IsNone "estimates"

            let a, b =
                (noise 1 [| 64L; 500L |]).``to`` torch.float32, (noise 2 [| 500L; 64L |]).``to`` torch.float32

            let gradient (product: torch.Tensor -> torch.Tensor) =
                let a = a.detach().requires_grad_ true
                (product a).square().sum().backward()
                nonNull a.grad

            Expect.isTrue (identical (Kernels.matmul (a, b)) (a.matmul b)) "a product is libtorch's to the bit"

            Expect.isTrue (identical (gradient (fun a -> Kernels.matmul (a, b))) (gradient (fun a -> a.matmul b))) "so is its gradient")

        Expect.equal (Kernels.isOn ()) before "after it"

        Expect.throws (fun () -> Kernels.withoutKernels (fun () -> invalidOp "act")) "what it throws comes out"
        Expect.equal (Kernels.isOn ()) before "after an exception"

let all =
    testList "kernels" [ products; transposes; pointwise; depthwise; dense; cpKernels; tridiagonal; switch ]
