namespace TensorNets

/// <summary>One core of a network: its name and the axes of its tensor in storage order.</summary>
type Core =
    {
        /// The name, which no other core of the network has.
        Name: string
        /// The axes in storage order; none twice. Their dimensions are the shape of the core's tensor.
        Axes: Axis list
    }
