namespace TensorNets

open System
open TorchSharp

/// <summary>Starting points from singular value decompositions.</summary>
[<RequireQualifiedAccess>]
module Svd =
    /// The leading eigenvectors of the smaller Gram of a matrix as its left singular vectors, n × r, padded with noise where r > n.
    let private leading (generator: torch.Generator) (rank: int) (unfolding: Tensor) : Tensor =
        use scope = torch.NewDisposeScope()
        let n = int unfolding.shape[0]
        let struct (_, vectors) = torch.linalg.eigh (unfolding.matmul unfolding.mT)
        let kept = min rank n
        let u = vectors.narrow(1L, int64 (n - kept), int64 kept).flip [| 1L |]

        let result =
            if kept = rank then
                u
            else
                let noise =
                    torch.randn ([| int64 n; int64 (rank - kept) |], dtype = torch.float64, generator = generator)

                torch.cat ([| u; noise.div (Num.tensor (sqrt (float n))) |], 1L)

        result.contiguous () |> scope.MoveToOuter

    let private unfold (tensor: Tensor) (mode: int) = tensor.movedim([| int64 mode |], [| 0L |]).reshape(tensor.shape[mode], -1L)

    let private cp generator rank (target: Tensor) =
        [ for mode in 0 .. int (target.dim ()) - 1 -> leading generator rank (unfold target mode) ]

    let private tucker2 generator first last (target: Tensor) =
        let a = leading generator first (unfold target 0)
        let c = leading generator last (unfold target 2)
        [ a; torch.einsum ("sdt,sa,tb->abd", target, a, c); c ]

    /// Sequential SVDs along the chain; the first bond's rank is shared out over the ring (TR-SVD).
    let private tensorChain (generator: torch.Generator) (ranks: int list) (target: Tensor) =
        let n = ranks.Length
        let ranks = List.toArray ranks
        let shape = target.shape
        let closing = int64 ranks[0]

        let pad (matrix: Tensor) (rows: int64) (columns: int64) : Tensor =
            let noise =
                torch.randn([| rows; columns |], dtype = torch.float64, generator = generator).mul(Num.tensor 1e-3)

            let r, c = min rows matrix.shape[0], min columns matrix.shape[1]

            noise.narrow(0L, 0L, r).narrow(1L, 0L, c).copy_(matrix.narrow(0L, 0L, r).narrow(1L, 0L, c))
            |> ignore

            noise

        // Core 0: the leading singular vectors of the first unfolding, its columns folded into (bond 0, bond 1).
        let split = closing * int64 ranks[1]
        let first = leading generator (int split) (unfold target 0)
        let core0 = first.reshape(shape[0], closing, int64 ranks[1]).permute(1L, 0L, 2L)
        // What remains: (bond 0, bond 1, modes 1 …), with bond 0 moved to the end, where the ring closes.
        let rest = first.mT.matmul (unfold target 0)

        let mutable remaining =
            rest.reshape(closing, int64 ranks[1], -1L).permute(1L, 2L, 0L).reshape(int64 ranks[1] * shape[1], -1L)

        [
            core0
            for i in 1 .. n - 2 do
                let next = int64 ranks[i + 1]
                let u = leading generator (int next) remaining
                let folded = pad u u.shape[0] next
                folded.reshape (int64 ranks[i], shape[i], next)
                let projected = folded.mT.matmul remaining
                remaining <- projected.reshape (next * shape[i + 1], -1L)
            remaining.reshape (int64 ranks[n - 1], shape[n - 1], closing)
        ]

    let private specFor (format: Format) (target: Tensor) =
        match Format.spec (target.shape |> Array.map int |> List.ofArray) format with
        | Error errors -> Error(List.map TensorNetError.Format errors)
        | Ok spec ->
            match Check.target "The target" target with
            | [] -> Ok spec
            | errors -> Error errors

    /// <summary>A start of white noise from a seed, in float64, of the norm of the target.</summary>
    let noise (seed: uint64) (format: Format) (target: Tensor) : Result<Network, TensorNetError list> =
        specFor format target
        |> Result.map (fun spec ->
            use scope = torch.NewDisposeScope()
            use network = Network.random torch.float64 seed spec

            let ratio =
                target.norm().``to``(torch.float64).ToDouble()
                / (Contraction.reconstruct network).norm().ToDouble()

            let share = Num.tensor (Math.Pow(ratio, 1.0 / float network.Cores.Count))
            new Network(spec, [| for core in network.Cores -> core.mul share |> scope.MoveToOuter |]))

    /// <summary>A start for a format: the truncated HOSVD (Tucker-2), the leading singular vectors of the unfoldings (CP), sequential SVDs
    /// (tensor chain). Computed in float64. Where a rank exceeds a dimension the remaining columns are noise from the seed.</summary>
    /// <remarks>Source: Kolda and Bader 2009, §3.4 and §4.2; Zhao et al. 2016 (TR-SVD).</remarks>
    let start (seed: uint64) (format: Format) (target: Tensor) : Result<Network, TensorNetError list> =
        specFor format target
        |> Result.map (fun spec ->
            use scope = torch.NewDisposeScope()
            use generator = new torch.Generator(seed)
            let k = Check.double target

            let cores =
                match format with
                | Format.CP rank -> cp generator rank k
                | Format.Tucker2(first, last) -> tucker2 generator first last k
                | Format.TensorChain ranks -> tensorChain generator ranks k

            let tensors =
                cores
                |> List.map (fun core -> core.contiguous () |> scope.MoveToOuter)
                |> List.toArray

            new Network(spec, tensors))
