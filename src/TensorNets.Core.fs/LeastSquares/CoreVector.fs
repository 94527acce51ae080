namespace TensorNets

open TorchSharp

/// All cores as one vector, for methods that move them together: their entries, one core after the other.
[<RequireQualifiedAccess>]
module internal CoreVector =
    let ofCores (cores: Tensor seq) : Tensor = torch.cat [| for core in cores -> core.reshape -1L |]

    let dot (a: Tensor) (b: Tensor) =
        use product = a.dot b
        product.number ()

    /// b + c a.
    let along (c: float) (a: Tensor) (b: Tensor) : Tensor =
        // Disposed after the call, so that it lives until then.
        use c: Scalar = Scalar.op_Implicit c
        b.add (a, c)

    /// b becomes b + c a.
    let advance (c: float) (a: Tensor) (b: Tensor) =
        use c: Scalar = Scalar.op_Implicit c
        b.add_ (a, c) |> ignore

    /// The cores of some shapes that a vector holds: views of it.
    let cores (shapes: int64[][]) (point: Tensor) : Tensor[] =
        let sizes = shapes |> Array.map (Array.fold (*) 1L)
        let starts = sizes |> Array.scan (+) 0L
        [| for i in 0 .. shapes.Length - 1 -> (point.narrow (0L, starts[i], sizes[i])).reshape shapes[i] |]

    /// Replaces the first cores of the array by those that a vector holds.
    let put (scope: DisposeScope) (count: int) (all: Tensor[]) (point: Tensor) =
        cores [| for core in Array.truncate count all -> core.shape |] point
        |> Array.iteri (fun i core -> Fit.replace scope all i (core.clone ()))
