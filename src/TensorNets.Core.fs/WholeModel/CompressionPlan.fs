namespace TensorNets

open System
open System.Collections.Generic

/// Parts of plans that are alike.
module internal PlanEquality =
    /// Lists of alike elements in one order, whatever holds them.
    let lists (a: IReadOnlyList<'T>) (b: IReadOnlyList<'T>) : bool = a.Count = b.Count && Seq.forall2 (fun x y -> obj.Equals(x, y)) a b

    let hash (list: IReadOnlyList<'T>) : int =
        let mutable code = HashCode()

        for element in list do
            code.Add element

        code.ToHashCode()

/// <summary>One way to factorize a layer: a format with its ranks, what it costs and what damage is predicted.</summary>
/// <remarks>Equal where all fields are; NaN is equal to itself.</remarks>
[<CustomEquality; NoComparison>]
type PlanCandidate =
    {
        /// How the format sees the kernel.
        Axes: KernelAxes
        /// <summary>The format; a tensor train of one rank over a kernel of one position is a matrix of that rank.</summary>
        Format: Format
        /// Bits of an entry of the cores, 2 to 8, with a scale for each slice (<c>Scales.PerSlice</c>); 0: they are not rounded.
        Bits: int
        /// Weight and bias.
        Parameters: int64
        /// Bytes of integers, scales and bias; 4 for each parameter where nothing is rounded.
        Bytes: int64
        /// For the input of the plan, over all calls.
        Flops: int64
        /// <summary>‖K − T‖ / ‖K‖ in the measure of the plan, as short least squares or the singular values give it, with what rounding is
        /// expected to add (<c>Quantization.predicted</c>); NaN where it is not known.</summary>
        Error: float
        /// What the plan adds up over the layers: Error squared, or what the caller's function says.
        Damage: float
        /// Milliseconds for the input of the plan, over all calls; NaN where it was not measured.
        Latency: float
    }

    // The equality of tuples, unlike (=) of numbers, holds for NaN.
    member private this.Fields =
        struct (struct (this.Axes, this.Format, this.Bits, this.Parameters, this.Bytes),
                struct (this.Flops, this.Error, this.Damage, this.Latency))

    override this.Equals(other: obj) =
        match other with
        | :? PlanCandidate as other -> this.Fields.Equals other.Fields
        | _ -> false

    override this.GetHashCode() = this.Fields.GetHashCode()

    override this.ToString() =
        FormatText.print this.Format
        + (if this.Axes = KernelAxes.Separate then " separate" else "")
        + (if this.Bits > 0 then $" at {this.Bits} bits" else "")

/// <summary>A layer in a plan: what it is, what it could become, and what is chosen.</summary>
/// <remarks>Equal where all fields are, lists by their elements; NaN is equal to itself.</remarks>
[<CustomEquality; NoComparison>]
type PlannedLayer =
    {
        /// The first path of the layer.
        Path: string
        /// The name of its class.
        Kind: string
        /// The shape of its weight.
        Shape: IReadOnlyList<int64>
        /// Its channels, kernel, groups and steps.
        Geometry: ConvGeometry
        /// The shapes of its inputs in the forward pass of the plan, one for each call.
        Inputs: IReadOnlyList<IReadOnlyList<int64>>
        /// Weight and bias of the dense layer.
        Parameters: int64
        /// FLOPs of the dense layer for the input of the plan.
        Flops: int64
        /// Milliseconds of the dense layer for the input of the plan; NaN where it was not measured.
        Latency: float
        /// What it could become; empty where it stays dense in any case.
        Candidates: IReadOnlyList<PlanCandidate>
        /// The candidate that is chosen, by its place; −1: the layer stays dense.
        Chosen: int
        /// Why the layer stays dense; empty where a candidate is chosen.
        Kept: string
    }

    /// Whether a candidate is chosen.
    member this.IsFactorized = this.Chosen >= 0 && this.Chosen < this.Candidates.Count
    /// The candidate that is chosen; not to be asked for a layer that stays dense.
    member this.Choice = this.Candidates[this.Chosen]
    /// Bytes of the dense layer in float32.
    member this.Bytes = 4L * this.Parameters

    member private this.Fields =
        struct (struct (this.Path, this.Kind, this.Geometry, this.Parameters), struct (this.Flops, this.Latency, this.Chosen, this.Kept))

    override this.Equals(other: obj) =
        match other with
        | :? PlannedLayer as other ->
            this.Fields.Equals other.Fields
            && PlanEquality.lists this.Shape other.Shape
            && this.Inputs.Count = other.Inputs.Count
            && Seq.forall2 PlanEquality.lists this.Inputs other.Inputs
            && PlanEquality.lists this.Candidates other.Candidates
        | _ -> false

    override this.GetHashCode() = HashCode.Combine(this.Fields.GetHashCode(), PlanEquality.hash this.Candidates)

/// <summary>What is to become of every linear layer and convolution of a model: data that can be printed, edited, written and
/// compared.</summary>
/// <remarks>Equal where all fields are, lists by their elements; NaN is equal to itself.</remarks>
[<CustomEquality; NoComparison>]
type CompressionPlan =
    {
        /// The shape of the input for which FLOPs are counted.
        Input: IReadOnlyList<int64>
        /// In which measure errors are: <c>kernel</c>, <c>calibrated</c> or <c>function</c>.
        Measure: string
        /// Parameters of the model that are in no linear layer or convolution.
        OtherParameters: int64
        /// Linear layers and convolutions in the order in which the model calls them first.
        Layers: IReadOnlyList<PlannedLayer>
    }

    /// The parameters of the dense model.
    member this.DenseParameters = this.OtherParameters + (this.Layers |> Seq.sumBy _.Parameters)

    /// The parameters of the model once it is compressed.
    member this.Parameters =
        this.OtherParameters
        + (this.Layers
           |> Seq.sumBy (fun layer -> if layer.IsFactorized then layer.Choice.Parameters else layer.Parameters))

    /// Bytes of the dense model in float32.
    member this.DenseBytes = 4L * this.DenseParameters

    /// Bytes of the parameters once the model is compressed; what is not rounded in float32.
    member this.Bytes =
        4L * this.OtherParameters
        + (this.Layers
           |> Seq.sumBy (fun layer -> if layer.IsFactorized then layer.Choice.Bytes else layer.Bytes))

    /// FLOPs of linear layers and convolutions of the dense model.
    member this.DenseFlops = this.Layers |> Seq.sumBy _.Flops

    /// FLOPs of linear layers and convolutions once the model is compressed.
    member this.Flops =
        this.Layers
        |> Seq.sumBy (fun layer -> if layer.IsFactorized then layer.Choice.Flops else layer.Flops)

    /// Milliseconds of linear layers and convolutions of the dense model; NaN where they were not measured.
    member this.DenseLatency = this.Layers |> Seq.sumBy _.Latency

    /// Milliseconds of linear layers and convolutions once the model is compressed; NaN where they were not measured.
    member this.Latency =
        this.Layers
        |> Seq.sumBy (fun layer -> if layer.IsFactorized then layer.Choice.Latency else layer.Latency)

    /// The sum of the predicted damages.
    member this.Damage =
        this.Layers |> Seq.sumBy (fun layer -> if layer.IsFactorized then layer.Choice.Damage else 0.0)

    override this.Equals(other: obj) =
        match other with
        | :? CompressionPlan as other ->
            this.Measure = other.Measure
            && this.OtherParameters = other.OtherParameters
            && PlanEquality.lists this.Input other.Input
            && PlanEquality.lists this.Layers other.Layers
        | _ -> false

    override this.GetHashCode() =
        HashCode.Combine(this.Measure, this.OtherParameters, PlanEquality.hash this.Input, PlanEquality.hash this.Layers)

    override this.ToString() =
        let mega (flops: int64) = $"{float flops / 1e6:F2}"
        let isTimed = this.Layers.Count > 0 && not (Double.IsNaN this.DenseLatency)
        // The columns of times stand where there are any.
        let timed text = if isTimed then [ text ] else []
        let time (value: float) = timed (if Double.IsNaN value then "" else $"{value:F3}")
        // So do bytes, where something is rounded.
        let isRounded = this.Layers |> Seq.exists (fun layer -> layer.IsFactorized && layer.Choice.Bits > 0)
        let bytes text = if isRounded then [ text ] else []

        TextTable.write
            [
                yield! [ "layer"; "shape"; "parameters"; "MFLOP" ]
                yield! timed "ms"
                yield! [ "choice"; "parameters" ]
                yield! bytes "bytes"
                yield! [ "MFLOP" ]
                yield! timed "ms"
                yield! [ "error"; "kept dense" ]
            ]
            [
                for layer in this.Layers do
                    [
                        yield! [ layer.Path; String.Join("×", layer.Shape); string layer.Parameters; mega layer.Flops ]
                        yield! time layer.Latency

                        if layer.IsFactorized then
                            let choice = layer.Choice
                            yield! [ string choice; string choice.Parameters ]
                            yield! bytes (string choice.Bytes)
                            yield! [ mega choice.Flops ]
                            yield! time choice.Latency
                            yield! [ $"{choice.Error:F3}"; "" ]
                        else
                            yield! [ "dense"; "" ]
                            yield! bytes (string layer.Bytes)
                            yield! [ "" ]
                            yield! timed ""
                            yield! [ ""; layer.Kept ]
                    ]
                [
                    yield! [ "other"; ""; string this.OtherParameters; "" ]
                    yield! timed ""
                    yield! [ ""; "" ]
                    yield! bytes (string (4L * this.OtherParameters))
                    yield! [ "" ]
                    yield! timed ""
                    yield! [ ""; "" ]
                ]
                [
                    yield! [ "in all"; ""; string this.DenseParameters; mega this.DenseFlops ]
                    yield! time this.DenseLatency
                    yield! [ ""; string this.Parameters ]
                    yield! bytes (string this.Bytes)
                    yield! [ mega this.Flops ]
                    yield! time this.Latency
                    yield! [ ""; "" ]
                ]
            ]

/// <summary>How far a plan has come, told after each layer that has its candidates.</summary>
type PlanProgress =
    {
        /// The layer.
        Path: string
        /// Layers that have their candidates, this one among them.
        Done: int
        /// Layers that get candidates: those that stay dense in any case are not counted.
        Total: int
        /// An estimate of the time that the rest takes, by the sizes of the layers.
        TimeLeft: TimeSpan
    }

/// <summary>How a plan is made.</summary>
[<NoComparison; NoEquality>]
type PlanOptions =
    {
        /// <summary>The families that kernels of several positions are tried in; by default CP, Tucker-2, tensor chain and tensor train.
        /// Kernels of one position and linear layers are tried as matrices.</summary>
        Families: FormatFamily list
        /// How many times fewer parameters than the dense layer the candidates have; by default 1.5, 2, 3, 4, 6, 9 and 13.
        Ratios: float list
        /// Bits that cores of candidates are rounded to under a budget of bytes, 2 to 8; the dense kernel at so many bits is a candidate
        /// too. By default 8, 6, 5, 4 and 3. Under other budgets, and with a function (`Evaluate`), nothing is rounded.
        Bits: int list
        /// Sweeps of least squares for each candidate of a family whose error singular values do not give; by default 3.
        Sweeps: int
        /// Whether the first layer stays dense; by default it does.
        KeepFirst: bool
        /// Whether the last layer stays dense; by default it does.
        KeepLast: bool
        /// Paths of further layers that stay dense.
        Keep: string list
        /// <summary>Σ of layers by their paths, from <c>Calibration.covariances</c>: errors are then those of the layers' outputs. Empty:
        /// errors of kernels.</summary>
        Covariances: (string * TorchSharp.torch.Tensor) list
        /// Layers worked on side by side; 0: as many as there are processors.
        Workers: int
        /// <summary>What measures times for a budget of latency: milliseconds that a layer takes for all its inputs, dense, then as each of
        /// some candidates, NaN for those that cannot be run. None: forward passes of TorchSharp's layers in float32, the median of
        /// several rounds in which each runs once.</summary>
        Latencies: (PlannedLayer -> PlanCandidate list -> float list) option
        /// <summary>Of how many factors channels are made in TT-matrix candidates of linear layers and kernels of one position, such as
        /// <c>[ 2; 3 ]</c>; empty: there are none. The factors are as equal as can be.</summary>
        TrainMatrixModes: int list
        /// <summary>What the model is worth with one layer changed, such as its loss on a few batches; lower is better. It is called on
        /// the caller's thread, once with the dense model, then once for each candidate of each layer. The damage of a candidate is by how
        /// much the value rises, 0 where it falls. None: the squared error of the layer.</summary>
        Evaluate: (TorchSharp.torch.nn.Module<TorchSharp.torch.Tensor, TorchSharp.torch.Tensor> -> float) option
        /// Told after each layer, from any thread; None: nobody is.
        Progress: IProgress<PlanProgress> option
    }
