/// Single sweeps of the factorization engine, for the tables that time them.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.FactorizeCases

open System
open TensorNets
open TorchSharp

/// The kernel and its networks.
let shape = [ 256; 9; 256 ]

let cp = Format.CP 200
let tucker2 = Format.Tucker2(64, 64)
let chain = Format.TensorChain [ 8; 8; 8 ]

let orStop result =
    match result with
    | Ok value -> value
    | Error errors -> raise (TensorNetException(List.toArray errors))

/// What sweeps work on. Least squares needs no bound.
let internal from (bound: float) (target: torch.Tensor) (network: Network) : CorrectionSweep =
    let cores = [| for core in network.Cores -> core.clone().DetachFromDisposeScope() |]
    let norm = target.norm().item<float>()

    CorrectionSweep.make
        {
            Options = SweepOptions.defaults
            Spec = network.Spec
            Target = target
            Norm = norm
            Bound = bound
        }
        cores

let internal error (work: CorrectionSweep) = Fit.explicitError work.Full work.Target work.Lookup

/// One sweep of least squares; with the explicit error where the Grams cannot tell it.
let internal als (work: CorrectionSweep) =
    // A sweep of least squares takes the places of cores from the order of blocks.
    if List.map fst work.Blocks <> [ 0 .. work.Cores.Length - 1 ] then
        invalidArg (nameof work) $"{work.Blocks.Length} blocks for {work.Cores.Length} cores; expected one for each, in order."

    match Als.pass work.Cache (List.map snd work.Blocks) work.Lookup work.Target work.Norm2 work.Cores with
    | Some residual -> sqrt residual
    | None -> error work

/// The gauge of least S.
let internal balance (work: CorrectionSweep) =
    work.Cache.Clear()
    Gauge.cycles Gauge.maxCycles work.Gauge work.Sensitivity work.Cores |> orStop |> fst

/// A network of white noise for a format and noise of its own size beside it as target: nothing converges, every sweep does the same work.
let internal noisy (shape: int list) (format: Format) : CorrectionSweep =
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

/// A case after some sweeps of least squares, with a bound of a little more than its error.
let internal settled (sweeps: int) (format: Format) : CorrectionSweep =
    let case = noisy shape format

    for _ in 1..sweeps do
        als case |> ignore

    { case with Problem = { case.Problem with Bound = error case * 1.0001 } }

/// Balances the same cores each time.
let internal balanceAgain (case: CorrectionSweep) : unit -> unit =
    let copies = case.Cores |> Array.map _.clone().DetachFromDisposeScope()

    fun () ->
        for i in 0 .. copies.Length - 1 do
            case.Cores[i].Dispose()
            case.Cores[i] <- copies[i].clone().DetachFromDisposeScope()

        balance case |> ignore

/// A product of float64 matrices: its operations, and what makes it.
let product (m: int64) (k: int64) (n: int64) =
    use generator = new torch.Generator(1UL)
    let a = torch.randn ([| m; k |], dtype = torch.float64, generator = generator)
    let b = torch.randn ([| k; n |], dtype = torch.float64, generator = generator)

    2.0 * float m * float k * float n,
    fun () ->
        use _ = torch.NewDisposeScope()
        a.matmul b |> ignore
