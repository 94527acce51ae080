namespace TensorNets

open TorchSharp

/// Rows of an embedding for the tokens asked for: of each core the slices at the digits of the tokens, contracted. The table is never made.
[<RequireQualifiedAccess>]
module internal EmbeddingLowering =
    // No name of a user's ends in a prime.
    let private token = Axis "token'"

    /// The entries of one step from a value of an axis to its next one, over axes of which the last is the fastest.
    let private strides (spec: Spec) (axes: Axis list) : (Axis * int64) list =
        let sizes = axes |> List.map (fun axis -> int64 (Spec.dim axis spec))
        List.zip axes (List.scanBack (*) sizes 1L |> List.tail)

    let private whole (x: int64) : Tensor = torch.tensor (x, dtype = torch.int64, device = torch.CPU)

    /// How the slices of a core at tokens are taken.
    type private Gather =
        {
            Core: Core
            /// The axis that runs over the slices; axes of several digits are brought to the front and taken as one.
            Place: int64
            /// The order of the axes that brings them there, and the shape with them as one.
            Merged: (int64[] * int64[]) option
            /// For each digit how far apart its tokens are, how many values it has, and how far apart they are in the core.
            Digits: (int64 * int64 * int64) list
        }

    let private gather (spec: Spec) (inputs: Axis list) (core: Core) : Gather =
        let apart = dict (strides spec inputs)
        let own = core.Axes |> List.filter (fun axis -> List.contains axis inputs)
        let rest = core.Axes |> List.except own
        let size axis = int64 (Spec.dim axis spec)
        let digits = [ for axis, stride in strides spec own -> apart[axis], size axis, stride ]

        match own with
        | [ axis ] -> { Core = core; Place = int64 (Axis.place core.Axes axis); Merged = None; Digits = digits }
        | _ ->
            let order = [| for axis in own @ rest -> int64 (Axis.place core.Axes axis) |]
            let shape = [| yield Spec.size own spec; yield! List.map size rest |]
            { Core = { core with Axes = own @ rest }; Place = 0L; Merged = Some(order, shape); Digits = digits }

    /// The core with the axis of the tokens in the place of its digits.
    let private taken (inputs: Axis list) (g: Gather) : Core =
        let rest = g.Core.Axes |> List.filter (fun axis -> not (List.contains axis inputs))
        { g.Core with Axes = List.insertAt (int g.Place) token rest }

    let private gathers (roles: AxisRoles) (spec: Spec) : Gather list =
        spec.Cores
        |> List.filter (fun core -> core.Axes |> List.exists (fun axis -> List.contains axis roles.Inputs))
        |> List.map (gather spec roles.Inputs)

    /// The order in which the slices at so many tokens are contracted with one another and with the cores that have no digit.
    let plan (roles: AxisRoles) (spec: Spec) (tokens: int64) : Plan =
        let slices = gathers roles spec |> List.map (taken roles.Inputs)
        let named = dict [ for core in slices -> core.Name, core ]

        let core (own: Core) =
            match named.TryGetValue own.Name with
            | true, slice -> slice
            | _ -> own

        Spec.extended [ token, int tokens ] (spec.Cores |> List.map core) (token :: roles.Outputs) spec
        |> Plan.straight Order.Auto

    /// The place of each token's slice along the axis that is gathered.
    let private places (g: Gather) (tokens: Tensor) : Tensor =
        [
            for apart, count, stride in g.Digits ->
                tokens.div(whole apart, torch.RoundingMode.floor).remainder(whole count).mul(whole stride)
        ]
        |> List.reduce (fun a b -> a.plus b)

    let private slice (g: Gather) (tokens: Tensor) (core: Tensor) : Tensor =
        let core =
            match g.Merged with
            | Some(order, shape) -> core.permute(order).reshape shape
            | None -> core

        core.index_select (g.Place, places g tokens)

    /// The rows, tokens × features, of tokens that are in the vocabulary. Differentiable in the cores.
    let run (roles: AxisRoles) (spec: Spec) (plan: Plan) : LayerWeights -> Tensor -> Tensor =
        let gathers = dict [ for g in gathers roles spec -> g.Core.Name, g ]
        let width = Spec.size roles.Outputs spec

        fun weights tokens ->
            let first = weights.Lookup spec.Cores.Head.Name

            let lookup name =
                match gathers.TryGetValue(Spec.original name) with
                | true, g -> slice g tokens (weights.Lookup name)
                | _ -> weights.Lookup name

            let rows = Contraction.runMany [ plan ] first.dtype first.device lookup |> List.exactlyOne
            rows.reshape (tokens.shape[0], width)
