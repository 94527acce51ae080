namespace TensorNets

open TorchSharp

/// A network for each group of channels, as one network whose cores all carry the group axis.
[<RequireQualifiedAccess>]
module internal GroupNetworks =
    /// The name of the group axis, which no format uses.
    let axis = Axis "grp"

    /// The spec of one group with the group axis in front of every core and of the output.
    let spec (groups: int) (one: Spec) : Spec =
        Spec.extended [ axis, groups ] (one.Cores |> List.map (fun core -> { core with Axes = axis :: core.Axes })) (axis :: one.Output) one

    let private largest (networks: Network list) : Spec =
        let first = networks.Head.Spec
        let dim axis = networks |> List.map (fun network -> Spec.dim axis network.Spec) |> List.max
        Spec.make (first.Dims |> Map.map (fun axis _ -> dim axis)) first.Cores first.Output

    /// Zeros behind each bond, which change no entry of the tensor.
    let private widened (spec: Spec) (core: Core) (tensor: Tensor) =
        let pads =
            [|
                for axis in List.rev core.Axes do
                    0L
                    int64 (Spec.dim axis spec) - tensor.shape[List.findIndex ((=) axis) core.Axes]
            |]

        torch.nn.functional.pad (tensor, pads, PaddingModes.Constant, 0.0)

    /// The networks of all groups, of one structure, side by side; bonds that differ are brought to the largest. The given networks are not
    /// changed.
    let stack (networks: Network list) : Network =
        use scope = torch.NewDisposeScope()
        let one = largest networks

        let cores =
            [|
                for core in one.Cores ->
                    torch.stack ([| for network in networks -> widened one core network[core.Name] |], 0L)
                    |> scope.MoveToOuter
            |]

        new Network(spec networks.Length one, cores)
