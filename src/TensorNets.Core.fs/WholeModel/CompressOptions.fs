namespace TensorNets

open System
open System.Collections.Generic
open System.Threading
open TorchSharp

/// <summary>How far the compression of a model has come, told after each layer.</summary>
type CompressProgress =
    {
        /// The layer that is finished.
        Path: string
        /// Layers finished, this one among them.
        Done: int
        /// Layers to factorize.
        Total: int
        /// ‖K − T‖ / ‖K‖ of this layer, NaN where it failed.
        KernelError: float
        /// S of this layer in its norm, NaN where it failed.
        Sensitivity: float
        /// An estimate of the time that the rest takes.
        TimeLeft: TimeSpan
    }

/// <summary>How a model is compressed by a plan.</summary>
type CompressOptions =
    {
        /// The most sweeps of least squares a layer; by default 30.
        Sweeps: int
        /// A sweep of least squares that lowers the error by less than this share of it is the last; by default 1e-4.
        Tolerance: float
        /// The most sweeps of correction for networks with a loop or a hyperedge (CP, tensor chain, block-term); by default 15. Trees are
        /// balanced, which leaves correction next to nothing.
        Corrections: int
        /// The correction may raise the error that least squares reach to this many times it; by default 1.02.
        Slack: float
        /// <summary>Σ of layers by their paths, from <c>Calibration.covariances</c>: the error is then that of the layers'
        /// outputs.</summary>
        Covariances: (string * torch.Tensor) list
        /// Layers worked on side by side, one libtorch thread each; 0: as many as there are processors. Layers wait where those under way
        /// are estimated to take 1.5 GiB together with them; one that takes more is worked on alone.
        Workers: int
        /// Bits and scales of the cores; none by default: numbers of the dtype of the weight. The correction is told the bits, and rounding
        /// is made up for (<c>Quantization.fit</c>), in the norm of the layer.
        Quantize: QuantizeOptions option
        /// A folder for finished layers, from which a run that was ended goes on; none by default.
        Folder: string option
        /// Whether a layer is disposed as soon as it stands in the work folder, so that a run holds no more than one for each worker; by
        /// default it is not. Of sources alone: the layers of a model stand in it.
        ReleaseLayers: bool
        /// The time for the whole run; none by default. Half of it is shared out to the least squares of layers by what they cost; the rest
        /// goes to correction in rounds of three sweeps, the next always at the layer where it lowers log S most a second, weighed by
        /// parameters. Layers that get none are balanced. Networks that wait for a round are held. With a limit the result depends on the
        /// clock.
        TimeLimit: TimeSpan option
        /// Who hears of each finished layer, on the thread that finished it, one at a time.
        Progress: IProgress<CompressProgress> option
        /// Cancelled, layers under way and to come stay dense.
        Cancellation: CancellationToken
    }

/// <summary>A layer that was factorized by a plan.</summary>
type CompressedLayer =
    {
        /// Where it stands.
        Path: string
        /// The factorized layer, which belongs to the model, or to the caller where the source is none; disposed already where the options
        /// release layers.
        Layer: FactorizedLayer
        /// Its file in the work folder; empty where there is none.
        File: string
        /// Bytes of its cores, or of the integers and scales that stand for them, and of its bias.
        Bytes: int64
        /// ‖K − T‖ / ‖K‖, in the Frobenius norm whatever the plan measures.
        KernelError: float
        /// S in the layer's norm.
        Sensitivity: float
        /// S of the network that least squares gave, before it was balanced or corrected; NaN of a layer from the work folder.
        StartSensitivity: float
        /// The time it took.
        Time: TimeSpan
        /// Whether it was read from the work folder.
        IsResumed: bool
    }

/// <summary>What became of a plan.</summary>
type CompressReport =
    {
        /// The layers that are factorized now, in the order of the plan.
        Layers: IReadOnlyList<CompressedLayer>
        /// The layers that the plan would have factorized and that stay dense, and why.
        Failed: IReadOnlyList<SkippedLayer>
        /// The time of the whole run.
        Time: TimeSpan
    }

    override this.ToString() =
        TextTable.write
            [ "layer"; "network"; "parameters"; "bytes"; "kernel error"; "S"; "seconds"; "" ]
            [
                for l in this.Layers do
                    yield
                        [
                            l.Path
                            string l.Layer.Spec
                            string l.Layer.ParameterCount
                            string l.Bytes
                            $"{l.KernelError:F4}"
                            $"{l.Sensitivity:G4}"
                            $"{l.Time.TotalSeconds:F1}"
                            (if l.IsResumed then "resumed" else "")
                        ]
                for s in this.Failed do
                    yield [ s.Path; "dense"; ""; ""; ""; ""; ""; String.concat " " s.Reasons ]
            ]
