namespace TensorNets

/// What stands in a network that is contracted: cores, and what takes part beside them. Networks are text, so that each has a name, which
/// no user's core can have.
[<RequireQualifiedAccess>]
type internal PlanInput =
    /// A core of the network; a second copy, `A'`, reads the tensor of `A`.
    | Core of name: string
    /// δ over an axis and its second copy.
    | Identity of axis: Axis
    /// Ones over an axis.
    | Ones of axis: Axis
    /// K.
    | Target
    /// F, the root of the covariance of a weighted norm, where no core absorbs it.
    | CovarianceRoot
    /// The message of a node of an elimination of S, and its tangent.
    | Message of node: int
    | Tangent of node: int

[<RequireQualifiedAccess>]
module internal PlanInput =
    let name (input: PlanInput) : string =
        match input with
        | PlanInput.Core name -> name
        | PlanInput.Identity axis -> "=" + axis.Name
        | PlanInput.Ones axis -> "~" + axis.Name
        | PlanInput.Target -> "*"
        | PlanInput.CovarianceRoot -> "@"
        | PlanInput.Message node -> $"^{node}"
        | PlanInput.Tangent node -> $"!{node}"

    /// What a name stands for.
    let ofName (name: string) : PlanInput =
        let rest = if name.Length > 0 then name.Substring 1 else ""

        match if name.Length > 0 then name[0] else ' ' with
        | '=' -> PlanInput.Identity(Axis rest)
        | '~' -> PlanInput.Ones(Axis rest)
        | '*' -> PlanInput.Target
        | '@' -> PlanInput.CovarianceRoot
        | '^' -> PlanInput.Message(int rest)
        | '!' -> PlanInput.Tangent(int rest)
        | _ -> PlanInput.Core name

    /// Whether a core is given and takes no part in S, least squares, correction and gauge. Such cores stand behind all others.
    let isFixed (core: Core) : bool = (core.Name = name PlanInput.CovarianceRoot)

    /// It as a core with some axes.
    let withAxes (axes: Axis list) (input: PlanInput) : Core = { Name = name input; Axes = axes }

    /// δ over an axis and its second copy, as a core.
    let identity (axis: Axis) : Core = PlanInput.Identity axis |> withAxes [ axis; Axis.primed axis ]

    /// Ones over an axis, as a core.
    let ones (axis: Axis) : Core = PlanInput.Ones axis |> withAxes [ axis ]
