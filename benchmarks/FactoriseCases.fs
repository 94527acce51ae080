/// Single sweeps of the factorisation engine, for the tables that time them.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.FactoriseCases

open System
open TensorNets
open TorchSharp

let orStop result =
    match result with
    | Ok value -> value
    | Error errors -> raise (TensorNetException(List.toArray errors))

/// What sweeps work on. Least squares needs no bound.
let internal from (bound: float) (target: torch.Tensor) (network: Network) : Sweeping =
    let cores = [| for core in network.Cores -> core.clone().DetachFromDisposeScope() |]
    Sweeping.make network.Spec target bound (target.norm().item<float>()) cores

let internal error (work: Sweeping) = Fit.explicitError work.Full work.Target work.Lookup

/// One sweep of least squares; with the explicit error where the Grams cannot tell it.
let internal als (work: Sweeping) =
    match Als.pass work.Kept work.Blocks work.Lookup work.Target work.Norm2 work.Cores with
    | Some residual -> sqrt residual
    | None -> error work

/// The gauge of least S.
let internal balance (work: Sweeping) =
    work.Kept.Clear()
    Gauge.cycles Gauge.maxCycles work.Gauge work.Sensitivity work.Cores |> orStop |> fst

/// A network of white noise for a format and noise of its own size beside it as target: nothing converges, every sweep does the same work.
let internal noisy (shape: int list) (format: Format) : Sweeping =
    let spec = Format.spec shape format |> Result.mapError (List.map TensorNetError.Format) |> orStop
    use _ = torch.NewDisposeScope()
    use clean = Network.random torch.float64 1UL spec
    use start = Network.random torch.float64 2UL spec
    let tensor = Contraction.reconstruct clean
    use generator = new torch.Generator(3UL)
    let noise = torch.randn (tensor.shape, dtype = torch.float64, generator = generator)
    let k = tensor.plus noise
    // As every way into the engine brings it.
    from 0.0 ((Check.double (k.div (k.norm ()))).DetachFromDisposeScope()) start
