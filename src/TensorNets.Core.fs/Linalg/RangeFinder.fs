namespace TensorNets

open TorchSharp

/// <summary>A Gaussian sketch of a matrix: its range is sought among the images of random vectors.</summary>
type Sketch =
    {
        /// How many vectors beyond the rank that is wanted; at least 2, by default 10.
        Oversampling: int
        /// How often the sketch is multiplied by A Aᵀ, orthonormal again after each product; 0 or more, default 2. Each one raises by two
        /// the power at which ratios of singular values tell what is wanted from what is not.
        PowerIterations: int
    }

/// <summary>The sketch to begin with.</summary>
[<RequireQualifiedAccess>]
module Sketch =
    /// <summary>10 vectors more than the rank, two power iterations.</summary>
    /// <example><code>{ Sketch.defaults with PowerIterations = 3 }</code></example>
    let defaults = { Oversampling = 10; PowerIterations = 2 }

/// <summary>How the singular value decompositions of a start are made.</summary>
type SvdOptions =
    {
        /// Whether each decomposition is that of what the ones before have left (ST-HOSVD, TT-SVD, HT-SVD from the leaves) instead of that
        /// of the whole target; by default not. Of trees only: CP has one decomposition for each mode, a ring is sequential anyhow.
        Sequential: bool
        /// By default none: eigenvectors of the smaller Gram. With one, a randomised range finder takes its place wherever it needs fewer
        /// products.
        Sketch: Sketch option
    }

/// <summary>The options to begin with.</summary>
[<RequireQualifiedAccess>]
module SvdOptions =
    /// <summary>Of the whole target, by the smaller Gram.</summary>
    /// <example><code>{ SvdOptions.defaults with Sketch = Some Sketch.defaults }</code></example>
    let defaults = { Sequential = false; Sketch = None }

    /// What is wrong with them.
    let internal check (options: SvdOptions) =
        match options.Sketch with
        | None -> []
        | Some sketch ->
            [
                if sketch.Oversampling < 2 then
                    TensorNetError.Unsupported("Oversampling", string sketch.Oversampling, "2 or more")
                if sketch.PowerIterations < 0 then
                    TensorNetError.Unsupported("Power iterations", string sketch.PowerIterations, "0 or more")
            ]

/// Leading left singular vectors, never by a decomposition of full matrices.
[<RequireQualifiedAccess>]
module internal RangeFinder =
    let private last (count: int) (vectors: Tensor) = vectors.narrow(1L, vectors.shape[1] - int64 count, int64 count).flip [| 1L |]

    let private orthonormal (matrix: Tensor) : Tensor =
        let struct (q, _) = Decompose.qr matrix
        q

    /// By the eigenvectors of the smaller Gram.
    let private byGram (count: int) (matrix: Tensor) : Tensor =
        if matrix.shape[0] <= matrix.shape[1] then
            let struct (_, vectors) = Decompose.eigh (matrix.matmul matrix.mT)
            last count vectors
        else
            let struct (_, vectors) = Decompose.eigh (matrix.mT.matmul matrix)
            // Orthonormal again: directions of small singular values come out of the product imprecise.
            orthonormal (matrix.matmul (last count vectors))

    /// By a sketch: an orthonormal basis Q of the range of (A Aᵀ)^q A Ω, then the leading left singular vectors of QᵀA. The error of the
    /// projection, E‖A − U Uᵀ A‖_F, is at most √(2 + r/(p − 1)) times the best one at rank r, with p vectors more than that; less with
    /// power iterations. Source: Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 53(2), 2011, algorithm 4.4
    /// and theorem 10.5; the 2 for the second truncation.
    let private bySketch (sketch: Sketch) (generator: torch.Generator) (width: int) (count: int) (matrix: Tensor) : Tensor =
        let omega = Fresh.noise generator matrix.dtype matrix.device [| matrix.shape[1]; int64 width |]

        let rec power n (q: Tensor) : Tensor =
            if n = 0 then q else power (n - 1) (orthonormal (matrix.matmul (orthonormal (matrix.mT.matmul q))))

        let q = power sketch.PowerIterations (orthonormal (matrix.matmul omega))
        q.matmul (byGram count (q.mT.matmul matrix))

    /// How many vectors a sketch takes for a rank; none where the Gram needs no more products than it.
    let internal width (sketch: Sketch option) (rank: int) (rows: int64) (columns: int64) : int option =
        sketch
        |> Option.map (fun sketch -> int64 rank + int64 sketch.Oversampling, 2L * int64 sketch.PowerIterations + 2L)
        // Of numbers below 2³² each, the product may leave 64 bits: the smaller one is compared as a quotient.
        |> Option.filter (fun (width, products) -> width <= min rows columns / products)
        |> Option.map (fst >> int)

    /// The leading left singular vectors of a matrix, n × rank; noise where there are fewer.
    let leading (sketch: Sketch option) (generator: torch.Generator) (rank: int) (unfolding: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let n, columns = int unfolding.shape[0], int unfolding.shape[1]
        let kept = min rank (min n columns)

        let u =
            match sketch, width sketch kept unfolding.shape[0] unfolding.shape[1] with
            | Some sketch, Some width -> bySketch sketch generator width kept unfolding
            | _ -> byGram kept unfolding

        let result =
            if kept = rank then
                u
            else
                let noise = Fresh.noise generator torch.float64 u.device [| int64 n; int64 (rank - kept) |]

                torch.cat ([| u; noise.div (Num.tensor (sqrt (float n))) |], 1L)

        result.contiguous () |> scope.MoveToOuter
