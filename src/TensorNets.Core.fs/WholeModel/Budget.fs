namespace TensorNets

/// <summary>What the whole of a compressed model may cost, or each layer's error.</summary>
[<RequireQualifiedAccess>]
type Budget =
    /// Parameters of the whole model at most those of the dense one divided by this, which is above 1.
    | ParameterRatio of ratio: float
    /// Parameters of the whole model.
    | Parameters of count: int64
    /// FLOPs of linear layers and convolutions at most those of the dense model divided by this, which is above 1.
    | FlopRatio of ratio: float
    /// FLOPs of linear layers and convolutions.
    | Flops of count: int64
    /// Measured time of linear layers and convolutions at most that of the dense model divided by this, which is above 1.
    | LatencyRatio of ratio: float
    /// Measured time of linear layers and convolutions, in milliseconds.
    | Latency of milliseconds: float
    /// <summary>Bytes of all parameters at most those of the dense model divided by this, which is above 1: formats, ranks and bits are
    /// chosen together. A number that is not rounded counts 4 bytes, as in float32.</summary>
    | ByteRatio of ratio: float
    /// <summary>Bytes of all parameters, as for <c>ByteRatio</c>.</summary>
    | Bytes of count: int64
    /// The error of each layer for itself, in the measure of the plan: each takes the fewest parameters within it, none
    /// few bits.
    | LayerError of error: float
