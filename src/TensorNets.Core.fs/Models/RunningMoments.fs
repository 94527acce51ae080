namespace TensorNets

open System
open TorchSharp

/// What a layer is applied to, summed over batches.
type internal RunningMoment =
    inherit IDisposable
    abstract Add: Tensor -> unit
    /// Whether there is a result, be it an error.
    abstract IsReached: bool
    abstract Mean: unit -> Result<Tensor, TensorNetError list>

/// The running sum of x xᵀ over all positions, in float64.
[<Sealed>]
type internal SecondMoment(what: string, fromEnd: int) =
    let mutable sum: Tensor option = None
    let mutable count = 0L
    let mutable errors: TensorNetError list = []

    interface RunningMoment with
        member _.Add x =
            use _ = torch.no_grad ()
            use scope = torch.NewDisposeScope()

            // Later batches cannot mend what one has spoilt.
            if errors.IsEmpty then
                errors <- Check.finite what x

            if errors.IsEmpty && x.dim () >= int64 fromEnd then
                let rows = (Check.double x).movedim([| int64 -fromEnd |], [| -1L |])
                let rows = rows.reshape (-1L, rows.shape[rows.shape.Length - 1])
                count <- count + rows.shape[0]

                let next =
                    match sum with
                    | None -> rows.mT.matmul rows
                    | Some before -> before.plus (rows.mT.matmul rows)

                sum |> Option.iter _.Dispose()
                sum <- Some(scope.Detach next)

        member _.IsReached = count > 0L || not errors.IsEmpty

        member _.Mean() =
            match errors, sum with
            | [], Some total when count > 0L ->
                use scope = torch.NewDisposeScope()
                Ok(total.div (Num.tensor (float count)) |> scope.MoveToOuter)
            | [], _ -> Error [ TensorNetError.Shape(what, [ count ], "at least one position: the layer was never called") ]
            | errors, _ -> Error errors

        member _.Dispose() = sum |> Option.iter _.Dispose()

/// How often each token of a vocabulary has come, in float64.
[<Sealed>]
type internal TokenCounts(what: string, vocabulary: int64) =
    let counts =
        lazy (torch.zeros([| vocabulary |], dtype = torch.float64, device = torch.CPU).DetachFromDisposeScope())

    interface RunningMoment with
        member _.Add tokens =
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()

            // Others are refused by the layer.
            if tokens.dtype = torch.int64 || tokens.dtype = torch.int32 then
                let flat = tokens.cpu().reshape(-1L).``to`` torch.int64

                let bound (token: int64) = torch.tensor (token, dtype = torch.int64, device = torch.CPU)
                let flat = flat.masked_select (flat.ge(bound 0L).logical_and(flat.lt (bound vocabulary)))
                counts.Value.index_add_ (0L, flat, torch.ones_like (flat, dtype = torch.float64), Num.one) |> ignore

        member _.IsReached = counts.IsValueCreated

        member _.Mean() =
            use scope = torch.NewDisposeScope()
            let all = counts.Value.sum().number()

            if all > 0.0 then
                Ok(counts.Value.div (Num.tensor all) |> scope.MoveToOuter)
            else
                Error [ TensorNetError.Shape(what, [ 0L ], "at least one token: the layer was never called") ]

        member _.Dispose() =
            if counts.IsValueCreated then
                counts.Value.Dispose()

/// Count, sum and sum of squares of each channel over all positions, in float64.
[<Sealed>]
type internal ChannelMoments(what: string, scope: DisposeScope) =
    let mutable count = 0L
    let mutable sums: (Tensor * Tensor) option = None
    let mutable errors: TensorNetError list = []

    member _.Errors = errors
    member _.Count = count

    member _.Add(x: Tensor) =
        use inner = torch.NewDisposeScope()

        if errors.IsEmpty then
            errors <- Check.finite what x

        if errors.IsEmpty && x.dim () >= 2L then
            let rows = (Check.double x).movedim([| 1L |], [| -1L |])
            let rows = rows.reshape (-1L, rows.shape[rows.shape.Length - 1])
            count <- count + rows.shape[0]
            let a, b = rows.sum 0L, rows.square().sum 0L

            let a, b =
                match sums with
                | None -> a, b
                | Some(x, y) -> x.plus a, y.plus b

            sums <- Some(inner.Detach a, inner.Detach b)
            scope.Attach a |> ignore
            scope.Attach b |> ignore

    /// Mean and unbiased variance.
    member _.Result() : Tensor * Tensor =
        let sum, squares = sums.Value
        let n = float count
        let mean = sum.div (Num.tensor n)
        let variance = squares.div(Num.tensor n).minus(mean.square ()).clamp_min(0.0.ToScalar())
        mean, variance.mul (Num.tensor (n / max 1.0 (n - 1.0)))
