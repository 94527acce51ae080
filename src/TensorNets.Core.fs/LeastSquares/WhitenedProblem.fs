namespace TensorNets

open TorchSharp

/// Problems in a weighted norm, solved as the whitened problem in the Frobenius norm (<c>WhitenedNorm</c>), so that no method knows of
/// weights.
[<RequireQualifiedAccess>]
module internal WhitenedProblem =
    /// The fit of the whitened problem as one of the plain problem; the network gets the dtype asked for, and is measured as it is handed
    /// over.
    let private plain (dtype: torch.ScalarType) (w: WhitenedNorm) (k: Tensor) (fit: Fit) : Fit =
        use scope = torch.NewDisposeScope()
        use plain = WhitenedNorm.plain w fit.Network
        let network = Network.copyAs dtype plain

        for core in network.Cores do
            scope.MoveToOuter core |> ignore

        use measured = WhitenedNorm.network (WhitenedNorm.resized plain.Spec w) network
        let error = Fit.explicitError (Plan.make Order.Auto measured.Spec) k (Network.lookup measured)

        let s =
            Sensitivity.numberOf (Sensitivity.plan measured.Spec) measured.DType measured.Device (Network.lookup measured)

        new Fit(network, error, k.norm().number(), s, fit.History)

    /// The whitening for a target of the shape of the spec's output with K' in float64, and the way back for fits.
    let private whitened
        (norm: Norm)
        (spec: Spec)
        (target: Tensor)
        (run: WhitenedNorm -> Tensor -> (Fit -> Fit) -> Result<'T, TensorNetError list>)
        =
        match Check.forSpec spec target with
        | [] ->
            WhitenedNorm.create norm spec
            |> Result.bind (function
                | None -> invalidArg (nameof norm) "The Frobenius norm needs no whitening."
                | Some w ->
                    let k = WhitenedNorm.target w (Check.double target)

                    match Check.target "The target in the weighted norm" k with
                    | [] ->
                        run w k (fun whitened ->
                            use whitened = whitened
                            plain target.dtype w k whitened)
                    | errors -> Error errors)
        | errors -> Error errors

    let private unweighted (options: SweepOptions) = { options with Norm = Norm.Frobenius }

    /// What is found in units of the whitened norm, which are the caller's to know of where bounds are absolute.
    let private inUnits (w: WhitenedNorm) (options: SweepOptions) (run: TargetUnits -> SweepOptions -> Result<'T, TensorNetError list>) =
        let units = TargetUnits.ofNorm w.Unit

        run units (unweighted options |> TargetUnits.listening units)
        |> Result.mapError (TargetUnits.errors units)

    /// A method that takes a start, in the norm of the options: as it is in the Frobenius norm, else on the whitened problem. `isS`: the
    /// trace of its fits is of S.
    let from
        (isS: bool)
        (run: TargetUnits -> SweepOptions -> Tensor -> Network -> Result<Fit, TensorNetError list>)
        (options: SweepOptions)
        (target: Tensor)
        (start: Network)
        : Result<Fit, TensorNetError list> =
        match options.Norm with
        | Norm.Frobenius -> run TargetUnits.none options target start
        | norm ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()

            whitened norm start.Spec target (fun w k back ->
                use start = WhitenedNorm.network w start

                inUnits w options (fun units options -> run units options k start)
                |> Result.bind (back >> TargetUnits.back (TargetUnits.ofNorm w.Unit) isS)
                |> Result.map Fit.toOuterScope)

    /// As <c>from</c>, for methods whose result holds several fits; `leave` brings them out of units.
    let fromMany
        (leave: TargetUnits -> 'T -> Result<'T, TensorNetError list>)
        (run: SweepOptions -> Tensor -> Network -> (Fit -> Fit) -> Result<'T, TensorNetError list>)
        (options: SweepOptions)
        (target: Tensor)
        (start: Network)
        : Result<'T, TensorNetError list> =
        match options.Norm with
        | Norm.Frobenius -> run options target start id
        | norm ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()

            whitened norm start.Spec target (fun w k back ->
                use start = WhitenedNorm.network w start

                inUnits w options (fun _ options -> run options k start (back >> Fit.toOuterScope))
                |> Result.bind (leave (TargetUnits.ofNorm w.Unit)))

    /// A method that makes its own network over a spec of the target's modes, in the norm of the options.
    let over
        (run: TargetUnits -> SweepOptions -> Tensor -> Result<Fit, TensorNetError list>)
        (options: SweepOptions)
        (spec: Spec)
        (target: Tensor)
        : Result<Fit, TensorNetError list> =
        match options.Norm with
        | Norm.Frobenius -> run TargetUnits.none options target
        | norm ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()

            whitened norm spec target (fun w k back ->
                inUnits w options (fun units options -> run units options k)
                |> Result.bind (back >> TargetUnits.back (TargetUnits.ofNorm w.Unit) false)
                |> Result.map Fit.toOuterScope)

    /// A start over a spec that looks at the target: made for the whitened target where the whitened network has the same form.
    let start
        (norm: Norm)
        (make: Spec -> Tensor -> Result<Network, TensorNetError list>)
        (spec: Spec)
        (target: Tensor)
        : Result<Network, TensorNetError list> =
        match norm with
        | Norm.Frobenius -> make spec target
        | norm ->
            use _ = torch.no_grad ()
            use scope = torch.NewDisposeScope()

            whitened norm spec target (fun w k _ ->
                let owned (network: Network) =
                    for core in network.Cores do
                        scope.MoveToOuter core |> ignore

                    network

                match w.Absorbed with
                | None -> make spec target |> Result.map owned
                | Some _ ->
                    make w.Spec k
                    |> Result.map (fun start ->
                        use start = start
                        WhitenedNorm.plain w start |> owned))
