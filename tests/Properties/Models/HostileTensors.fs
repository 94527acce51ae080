/// Tensors and networks of every kind, as a careless or hostile caller has them.
module HostileTensors

open System
open TorchSharp
open TensorNets
open HostileSpecs

let private scales =
    [ 1.0; 1.0; 1.0; 1.0; 1e-6; 1e6; 1e-38; 1e38; 1e-104; 1e104; 1e-160; 1e160; 1e-300; 1e300 ]

/// Numbers of every kind: noise, of low rank, constant, zero, scaled from 1e-300 to 1e300, with NaN and infinities among them.
let private numbers (d: Draw) (shape: int64[]) : float[] =
    let size = int (Array.fold (*) 1L shape)
    let noise () = Array.init size (fun _ -> d.Noise())

    /// A product of vectors along the axes.
    let product () =
        let vectors = shape |> Array.map (fun n -> Array.init (int n) (fun _ -> d.Noise()))

        Array.init size (fun i ->
            let mutable left, value = i, 1.0

            for axis in shape.Length - 1 .. -1 .. 0 do
                value <- value * vectors[axis][left % int shape[axis]]
                left <- left / int shape[axis]

            value)

    let with' (value: float) =
        let values = noise ()

        if size > 0 then
            values[d.Below size] <- value
            d.Finite <- false

        values

    let values =
        match d.Below 20 with
        | 0 -> Array.zeroCreate size
        | 1 -> Array.create size 1.0
        | 2 -> Array.create size -0.3
        | 3
        | 4 -> product ()
        | 5 -> Array.map2 (+) (product ()) (product ())
        | 6 -> Array.map2 (fun a b -> a + 1e-5 * b) (product ()) (noise ())
        | 7 -> with' nan
        | 8 -> with' (d.Pick [ infinity; -infinity ])
        | 9 -> Array.init size (fun i -> if i = 0 then 1.0 else 0.0)
        | _ -> noise ()

    let scale = d.Pick scales

    if scale <> 1.0 then
        d.Moderate <- false
        values |> Array.map (fun x -> x * scale)
    else
        values

/// A tensor of a shape: mostly of float32 or float64 as it comes, now and then of another dtype, a view, with gradient, disposed, without
/// memory.
let tensor (d: Draw) (shape: int64 list) : Tensor =
    let shape = List.toArray shape

    let dtype =
        if d.Chance 0.85 then
            d.Pick [ torch.float64; torch.float32 ]
        else
            d.Pick
                [
                    torch.float16
                    torch.bfloat16
                    torch.int64
                    torch.int32
                    torch.bool
                    torch.complex64
                    torch.complex128
                ]

    if dtype <> torch.float64 then
        d.Moderate <- false

    if d.Chance 0.02 then
        d.Finite <- false
        d.Own(torch.empty (shape, dtype = dtype, device = torch.META))
    else
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()

        let double = torch.tensor (numbers d shape, dtype = torch.float64, device = torch.CPU)

        let plain = double.reshape(shape).``to``(dtype)

        if (dtype = torch.float32 || dtype = torch.float16) && d.Finite then
            d.Finite <- plain.isfinite().all().ToBoolean()

        let viewed =
            if d.Chance 0.15 && shape.Length > 1 then
                let turned = [| for i in shape.Length - 1 .. -1 .. 0 -> int64 i |]
                plain.permute(turned).contiguous().permute turned
            else
                plain.clone ()

        let tensor = d.Own viewed

        if d.Chance 0.1 && (dtype = torch.float32 || dtype = torch.float64) then
            tensor.requires_grad <- true

        if d.Chance 0.015 then
            d.Finite <- false
            tensor.Dispose()

        tensor

/// Any shape, with axes of 0 and 1 among others.
let anyShape (d: Draw) : int64 list = List.init (d.Below 6) (fun _ -> d.Pick [ 1L; 2L; 2L; 3L; 4L; 0L ])

/// A network of a spec: noise, scaled, with zero cores, with NaN, of one dtype or another.
let network (d: Draw) (spec: Spec) : Network =
    let dtype =
        d.Pick [ torch.float64; torch.float64; torch.float32; torch.float32; torch.float16; torch.bfloat16 ]

    if dtype <> torch.float64 then
        d.Moderate <- false

    let made = Network.random torch.float64 d.Seed spec

    let network =
        if dtype = torch.float64 then
            made
        else
            use made = made
            Network.copyAs dtype made

    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()

    for core in network.Cores do
        match d.Below 16 with
        | 0 -> core.zero_ () |> ignore
        | 1 ->
            core.copy_ (torch.tensor (d.Pick [ nan; infinity ], dtype = torch.float64)) |> ignore
            d.Finite <- false
        | 2 ->
            d.Moderate <- false
            core.mul_ (torch.tensor (d.Pick [ 1e-30; 1e30; 1e-3; 1e3; 1e4 ], dtype = dtype)) |> ignore
        | 3 -> core.copy_ (torch.tensor (1.0, dtype = torch.float64)) |> ignore
        | _ -> ()

        if core.isfinite().all().ToBoolean() |> not then
            d.Finite <- false

    if d.Chance 0.1 then
        for core in network.Cores do
            core.requires_grad <- dtype <> torch.float16 && dtype <> torch.bfloat16

    if d.Chance 0.01 then
        d.Finite <- false
        (network :> IDisposable).Dispose()

    d.Own network
