namespace TensorNets

open TorchSharp

/// Which ranks a Tucker-2 network of a given size should have.
[<RequireQualifiedAccess>]
module internal Tucker2Ranks =
    /// The eigenvalues and eigenvectors of the Gram of the first mode.
    let spectrum (kernel: Tensor) : Tensor * Tensor =
        use scope = torch.NewDisposeScope()
        let m = KernelProjection.unfolded 0 kernel
        let struct (values, vectors) = Decompose.eigh (m.matmul m.mT)
        scope.MoveToOuter values, scope.MoveToOuter vectors

    /// What a Tucker-2 network keeps of ‖K‖² on the leading directions of both channels, by how many there are of each: sums over the
    /// squares of Uᵀ K V, all pairs at once. Tails of the two unfoldings add what both lose twice, and make ranks one-sided.
    let kept (kernel: Tensor) (first: Tensor) (last: Tensor) : float[,] =
        use _ = torch.NewDisposeScope()
        let squares = torch.einsum("sdt,sa,tb->adb", kernel, first.flip 1L, last.flip 1L).square().sum 1L
        let sums = ConstrainedQuadratics.toArray (squares.cumsum(0L).cumsum 1L)
        let columns = int squares.shape[1]
        Array2D.init (int squares.shape[0]) columns (fun a b -> sums[a * columns + b])

    /// The ranks of a Tucker-2 network of at most so many parameters that keep most.
    let within (size: float) (s, d, t) (kept: float[,]) : (int * int) option =
        [
            for a in 1 .. min s (d * t) do
                let b = int ((size - float (s * a)) / float (d * a + t))
                let b = min b (min t (d * a))

                if b >= 1 && a <= d * b then
                    a, b
        ]
        |> function
            | [] -> None
            | pairs -> Some(pairs |> List.maxBy (fun (a, b) -> kept[a - 1, b - 1]))

    /// The pair of least size that keeps all but a share of it, of what the largest keep.
    let private atShare (share: float) (s, d, t) (kept: float[,]) : (int * int) option =
        let whole = kept[s - 1, t - 1]
        let least = whole * (1.0 - share)

        let keeps size = within size (s, d, t) kept |> Option.filter (fun (a, b) -> kept[a - 1, b - 1] >= least)

        let rec bisect low high =
            if high - low <= 1 then
                keeps (float high)
            else
                let middle = (low + high) / 2
                if (keeps (float middle)).IsSome then bisect low middle else bisect middle high

        bisect 0 (s * s + s * d * t + t * t)

    /// The pairs for networks of some sizes, one network for each of several kernels of one shape, (s, d, t), given with the eigenvectors
    /// of their first modes: those that keep most of all of them together; with a bound on the relative error, the smallest that keeps it.
    let ofSizes (bound: float option) (sizes: float list) (kernels: (Tensor * Tensor) list) : (int * int) list =
        use _ = torch.NewDisposeScope()

        let keptOf (kernel: Tensor, first: Tensor) =
            let m = KernelProjection.unfolded 2 kernel
            let struct (_, last) = Decompose.eigh (m.matmul m.mT)
            kept kernel first last

        match kernels with
        | [] -> []
        | (one, _) :: _ ->
            let s, d, t = int one.shape[0], int one.shape[1], int one.shape[2]
            let all = kernels |> List.map keptOf
            let together = Array2D.init s t (fun a b -> all |> List.sumBy (fun of' -> of'[a, b]))
            let atBound = bound |> Option.bind (fun bound -> atShare (bound * bound) (s, d, t) together)

            List.choose (fun size -> within size (s, d, t) together) sizes @ Option.toList atBound
            |> List.distinct
