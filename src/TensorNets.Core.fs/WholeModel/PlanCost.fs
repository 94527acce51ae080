namespace TensorNets

/// A cost that a budget bounds: of a dense layer, of a candidate, in words, and what less of it is.
[<NoComparison; NoEquality>]
type internal PlanCost =
    {
        OfLayer: PlannedLayer -> float
        OfCandidate: PlanCandidate -> float
        Text: float -> string
        Less: string
    }

[<RequireQualifiedAccess>]
module internal PlanCost =
    let parameters =
        {
            OfLayer = fun layer -> float layer.Parameters
            OfCandidate = fun c -> float c.Parameters
            Text = fun count -> $"{count:F0} parameters"
            Less = "times fewer"
        }

    let flops =
        {
            OfLayer = fun layer -> float layer.Flops
            OfCandidate = fun c -> float c.Flops
            Text = fun count -> $"{count:F0} FLOPs"
            Less = "times fewer"
        }

    let bytes =
        {
            OfLayer = fun layer -> float layer.Bytes
            OfCandidate = fun c -> float c.Bytes
            Text = fun count -> $"{count:F0} bytes"
            Less = "times fewer"
        }

    let latency =
        {
            OfLayer = _.Latency
            OfCandidate = _.Latency
            Text = fun time -> $"{time:G4} ms"
            Less = "times faster"
        }
