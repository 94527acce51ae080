namespace TensorNets

open System
open System.Collections.Generic

/// <summary>One core of a network: its name and the axes of its tensor in storage order.</summary>
type Core =
    {
        /// The name, which no other core of the network has.
        Name: string
        /// The axes in storage order; none twice. Their dimensions are the shape of the core's tensor.
        Axes: Axis list
    }

[<RequireQualifiedAccess>]
module internal Core =
    /// Where cores, of known dimensions, have more entries together than a long counts.
    let tooLarge (dims: IReadOnlyDictionary<Axis, int>) (cores: Core list) : SpecError list =
        let entries =
            cores |> List.sumBy (fun core -> core.Axes |> List.fold (fun n axis -> n * bigint dims[axis]) 1I)

        if entries > bigint Int64.MaxValue then [ SpecError.CoresTooLarge entries ] else []
