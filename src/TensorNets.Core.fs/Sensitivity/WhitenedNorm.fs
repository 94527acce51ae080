namespace TensorNets

open System
open TorchSharp

/// A unit of norms and errors, u = Factor 2^Exponent, apart since u² may be no double.
[<Struct; NoComparison>]
type internal NormUnit =
    {
        Factor: float
        Exponent: int
    }

    static member One = { Factor = 1.0; Exponent = 0 }

    /// x u², for a scalar or what is linear in one.
    member this.Squared(x: ScaledTensor) : ScaledTensor =
        let factor = this.Factor * this.Factor

        {
            Value = if factor = 1.0 then x.Value else x.Value.mul (Num.like x.Value factor)
            Exponent = x.Exponent + 2 * this.Exponent
        }

/// A network and a norm weighted by Σ = F Fᵀ as a network T' = T × F in the Frobenius norm. Where one core A carries the weighted axis and
/// no other core does, A' = A × F takes its place: T' is a network of the same form, and S in the weighted norm, Σ_k ‖∂(T × F)/∂θ_k‖², is
/// that of the whitened network where tr F Fᵀ = r, the dimension of its axis, since white noise in A is F-coloured in A': norms are in
/// units in which it is so. Otherwise F joins the network as a fixed core.
type internal WhitenedNorm =
    {
        Plain: Spec
        /// The network of T'; the axis of an absorbed F keeps its name, with the rank of Σ as its dimension.
        Spec: Spec
        /// The open axes under Σ.
        Axes: Axis list
        /// The core that F was absorbed into.
        Absorbed: Core option
        /// Σ is u² F Fᵀ, u these units of norms and errors, whatever the size of Σ.
        Unit: NormUnit
        /// F, n × r, of full column rank.
        Root: Tensor
        /// F⁺, r × n.
        Inverse: Tensor
    }

[<RequireQualifiedAccess>]
module internal WhitenedNorm =
    /// The name of F where it is a fixed core; no user's core may be called so.
    let private fixedName = PlanInput.name PlanInput.CovarianceRoot

    /// F with u² F Fᵀ = Σ and tr F Fᵀ = r, F⁺, and u. The symmetric root where Σ is regular, so that Σ = I is nothing at all; else the
    /// columns of nonzero eigenvalue.
    let private roots (covariance: Tensor) : Result<Tensor * Tensor * NormUnit, TensorNetError list> =
        Norm.eigen covariance
        |> Result.map (fun (values, vectors, scale) ->
            use scope = torch.NewDisposeScope()
            let n = values.shape[0]
            let kept = values.gt(values.max().mul(Num.tensor (Norm.nullShare covariance))).sum().integer()
            let values = values.narrow (0L, n - kept, kept)
            let mean = values.mean ()
            let s = values.div(mean).sqrt()
            let v = vectors.narrow (1L, n - kept, kept)
            let root, inverse = v.mul s, (v.div s).mT

            let root, inverse = if kept = n then root.matmul v.mT, v.matmul inverse else root, inverse

            scope.MoveToOuter(root.contiguous ()),
            scope.MoveToOuter(inverse.contiguous ()),
            { Factor = sqrt (mean.number ()); Exponent = scale })

    let private replaced (old: Axis list) (fresh: Axis) (axes: Axis list) =
        axes
        |> List.collect (fun axis ->
            if axis = old.Head then [ fresh ]
            elif List.contains axis old then []
            else [ axis ])

    let private absorbed (spec: Spec) (axis: Axis) (root: Tensor) : Spec = Spec.resized [ axis, int root.shape[1] ] spec

    let private extended (spec: Spec) (axes: Axis list) (root: Tensor) : Spec =
        let fresh = Axis(fixedName + String.concat "" (axes |> List.map Axis.name))

        Spec.extended
            [ fresh, int root.shape[1] ]
            (spec.Cores @ [ PlanInput.CovarianceRoot |> PlanInput.withAxes (axes @ [ fresh ]) ])
            (replaced axes fresh spec.Output)
            spec

    let private modeErrors (spec: Spec) (modes: int list) (covariance: Tensor) =
        let last = spec.Output.Length - 1
        let found = String.concat ", " (modes |> List.map string)

        [
            if
                modes.IsEmpty
                || List.distinct modes <> modes
                || modes |> List.exists (fun mode -> mode < 0 || mode > last)
            then
                TensorNetError.Unsupported("The modes of the norm", $"[{found}]", $"one or more of 0 to {last}, each once")
            elif (Check.readable "The covariance" covariance).IsEmpty && covariance.dim () = 2L then
                let n = modes |> List.fold (fun n mode -> n * int64 (Spec.dim spec.Output[mode] spec)) 1L

                if covariance.shape[0] <> n || covariance.shape[1] <> n then
                    TensorNetError.Shape("The covariance", Check.shapeOf covariance, $"{n} × {n}, for mode {found} of the target")
        ]

    /// The whitening of a network of the given spec; None in the Frobenius norm. Errors: modes that the target has not, a Σ that does not
    /// fit them or is no covariance, all at once.
    let private make (absorbing: bool) (norm: Norm) (spec: Spec) : Result<WhitenedNorm option, TensorNetError list> =
        match norm with
        | Norm.Frobenius -> Ok None
        | Norm.Weighted(modes, covariance) ->
            use scope = torch.NewDisposeScope()

            match modeErrors spec modes covariance, roots covariance with
            | [], Ok(root, inverse, unit) ->
                let axes = modes |> List.map (fun mode -> spec.Output[mode])

                let core =
                    match axes with
                    | [ axis ] when absorbing ->
                        match Spec.carriers axis spec with
                        | [ core ] -> Some core
                        | _ -> None
                    | _ -> None

                Ok(
                    Some
                        {
                            Plain = spec
                            Spec =
                                match core with
                                | Some _ -> absorbed spec axes.Head root
                                | None -> extended spec axes root
                            Axes = axes
                            Absorbed = core
                            Unit = unit
                            Root = scope.MoveToOuter root
                            Inverse = scope.MoveToOuter inverse
                        }
                )
            | errors, Error more -> Error(errors @ more)
            | errors, Ok _ -> Error errors

    let create (norm: Norm) (spec: Spec) : Result<WhitenedNorm option, TensorNetError list> = make true norm spec

    /// As <c>create</c>, with F as a core of its own in any case: then T' keeps what Σ does not see of T.
    let beside (norm: Norm) (spec: Spec) : Result<WhitenedNorm option, TensorNetError list> = make false norm spec

    /// A tensor with a matrix applied along some of its axes, which become one, where the first of them was.
    let private along (all: Axis list) (axes: Axis list) (matrix: Tensor) (tensor: Tensor) : Tensor =
        let others = all |> List.except axes
        let moved = tensor.permute [| for axis in others @ axes -> Axis.place all axis |]
        let rows = moved.shape[.. others.Length - 1]
        let result = moved.reshape(Array.append rows [| matrix.shape[0] |]).matmul matrix

        let rest = all |> List.filter (fun axis -> axis = axes.Head || not (List.contains axis axes))
        result.movedim([| -1L |], [| Axis.place rest axes.Head |]).contiguous()

    /// K' = K × F. K is in float64.
    let target (w: WhitenedNorm) (k: Tensor) : Tensor = along w.Plain.Output w.Axes w.Root k

    /// F in the dtype of a network: what joins it.
    let private like (first: Tensor) (matrix: Tensor) = matrix.``to`` (first.dtype, first.device)

    /// The cores of T' from those of T, in the scope of the caller. Differentiable.
    let cores (w: WhitenedNorm) (lookup: string -> Tensor) : Tensor[] =
        [|
            for core in w.Spec.Cores ->
                if core.Name = fixedName then
                    let sizes = w.Axes |> List.map (fun axis -> int64 (Spec.dim axis w.Plain))
                    let first = lookup w.Plain.Cores.Head.Name
                    (like first w.Root).reshape(Array.append (List.toArray sizes) [| w.Root.shape[1] |]).clone()
                elif Some core.Name = (w.Absorbed |> Option.map _.Name) then
                    let tensor = lookup core.Name
                    along core.Axes w.Axes (like tensor w.Root) tensor
                else
                    (lookup core.Name).clone()
        |]

    /// The spec of T for one of T', whose bonds may have been cut.
    let private plainSpec (w: WhitenedNorm) (spec: Spec) : Spec =
        let dims = w.Axes |> List.fold (fun dims axis -> Map.add axis (Spec.dim axis w.Plain) dims) spec.Dims
        Spec.make dims (spec.Cores |> List.filter (fun core -> core.Name <> fixedName)) w.Plain.Output

    /// T' for a network: copies in float64.
    let network (w: WhitenedNorm) (network: Network) : Network =
        use scope = torch.NewDisposeScope()
        use copy = Network.copyAs torch.float64 network
        new Network(w.Spec, cores w (Network.lookup copy) |> Array.map scope.MoveToOuter)

    /// T for a network of T' = T × F, of least norm where Σ vanishes: A = A' × F⁺.
    let plain (w: WhitenedNorm) (whitened: Network) : Network =
        use scope = torch.NewDisposeScope()

        let tensors =
            [|
                for core in whitened.Spec.Cores do
                    if core.Name <> fixedName then
                        let tensor = whitened[core.Name]

                        if Some core.Name = (w.Absorbed |> Option.map _.Name) then
                            along core.Axes w.Axes w.Inverse tensor |> scope.MoveToOuter
                        else
                            tensor.clone () |> scope.MoveToOuter
            |]

        new Network(plainSpec w whitened.Spec, tensors)

    /// The whitening of a network of the same axes whose bonds have other dimensions.
    let resized (spec: Spec) (w: WhitenedNorm) : WhitenedNorm =
        { w with
            Plain = spec
            Spec =
                match w.Absorbed with
                | Some _ -> absorbed spec w.Axes.Head w.Root
                | None -> extended spec w.Axes w.Root
        }
