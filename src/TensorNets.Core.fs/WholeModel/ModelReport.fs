namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>What one layer of a model costs, and whether it can be factorized.</summary>
type LayerReport =
    {
        /// Every path at which the layer stands, at least one.
        Paths: IReadOnlyList<string>
        /// The name of its class, such as Conv2d.
        Kind: string
        /// The shape of its weight, or of the dense weight that its network contracts to; empty where it has none.
        Shape: IReadOnlyList<int64>
        /// Its parameters, those of its submodules not among them.
        Parameters: int64
        /// Multiplications and additions for the input of the report, over all calls; of linear layers and convolutions alone.
        Flops: int64
        /// The shape of its first input, empty where it was not called.
        Input: IReadOnlyList<int64>
        /// Why it cannot be factorized; empty where it can, or where it is.
        Obstacles: IReadOnlyList<string>
        /// The network of a factorized layer with its ranks, as text; empty for any other.
        Network: string
        /// <summary>The format of a factorized layer with its ranks, where it is known, such as <c>CP(48)</c>.</summary>
        Format: string
        /// ‖K − T‖ / ‖K‖ of a factorized layer when it was made of a dense one, where that is known; NaN else.
        KernelError: float
        /// S of a factorized layer in its norm; NaN for any other.
        Sensitivity: float
    }

    /// The first of its paths.
    member this.Path = this.Paths[0]
    /// Whether it is a dense layer that can be factorized.
    member this.CanBeFactorized = this.Obstacles.Count = 0 && this.Network = "" && this.Shape.Count > 0

/// <summary>What a model costs, layer by layer.</summary>
type ModelReport =
    {
        /// The shape of the input of the forward pass.
        Input: IReadOnlyList<int64>
        /// Every module that holds parameters itself, in the order of the model.
        Layers: IReadOnlyList<LayerReport>
        /// The parameters of the whole model.
        Parameters: int64
        /// Multiplications and additions of its linear layers, convolutions and embeddings for the input.
        Flops: int64
    }

    override this.ToString() =
        let share (part: int64) (whole: int64) = if whole = 0L then "" else $"{100.0 * float part / float whole:F1}"
        let shape (sizes: IReadOnlyList<int64>) = String.Join("×", sizes)
        let number (value: float) = if Double.IsNaN value then "" else $"{value:G3}"

        TextTable.write
            [ "layer"; "kind"; "shape"; "parameters"; "%"; "MFLOP"; "%"; "factorized, or why it cannot be" ]
            [
                for layer in this.Layers do
                    yield
                        [
                            layer.Path
                            layer.Kind
                            shape layer.Shape
                            string layer.Parameters
                            share layer.Parameters this.Parameters
                            $"{float layer.Flops / 1e6:F2}"
                            share layer.Flops this.Flops
                            if layer.Network <> "" then
                                $"{layer.Format} error {number layer.KernelError} S {number layer.Sensitivity}"
                            else
                                String.Join("; ", layer.Obstacles)
                        ]
                yield [ "in all"; ""; ""; string this.Parameters; ""; $"{float this.Flops / 1e6:F2}"; ""; "" ]
            ]

/// <summary>What a model costs, layer by layer, by a forward pass.</summary>
[<RequireQualifiedAccess>]
module ModelReport =
    /// The geometry of a linear layer, convolution or embedding, dense or factorized.
    let internal geometryOf (m: torch.nn.Module) : Result<ConvGeometry, TensorNetError list> =
        match m with
        | :? FactorizedLayer as layer -> Ok layer.Geometry
        | _ -> ConvGeometry.ofDense m |> Result.map (fun (geometry, _, _) -> geometry)

    /// Multiplications and additions of a dense layer for an input of a shape; an embedding has none.
    let internal denseFlops (g: ConvGeometry) (shape: int64 list) : int64 =
        let n = g.Kernel.Length
        let product = List.fold (*) 1L
        let each = 2L * (g.InChannels / g.Groups) * GeometryChecks.positions g * g.OutChannels

        if g.IsEmbedding then
            0L
        elif n = 0 then
            each * product shape / g.InChannels
        else
            let size = shape |> List.skip (shape.Length - n)
            let images = product (List.truncate (shape.Length - n - 1) shape)
            each * images * product (if g.Transposed then size else List.mapi (ConvGeometry.along g) size)

    /// The same of a factorized layer, from those for one image, row or token.
    let internal factorizedFlops (flops: int64 list -> int64) (g: ConvGeometry) (shape: int64 list) : int64 =
        let n = g.Kernel.Length

        if g.IsEmbedding then
            flops [] * List.fold (*) 1L shape
        elif n = 0 then
            flops [] * (List.fold (*) 1L shape / g.InChannels)
        else
            flops (List.skip (shape.Length - n) shape)
            * List.fold (*) 1L (List.truncate (shape.Length - n - 1) shape)

    let private flopsOf (m: torch.nn.Module) (shape: int64 list) : int64 =
        match m, geometryOf m with
        | :? FactorizedLayer as layer, Ok g -> factorizedFlops (fun size -> int64 (layer.Flops(List.toArray size))) g shape
        | _, Ok g -> denseFlops g shape
        | _ -> 0L

    /// What keeps a layer from being factorized.
    let internal obstacles (path: string) (m: torch.nn.Module) (model: torch.nn.Module) : TensorNetError list =
        match ConvGeometry.ofDenseAt path m with
        | Error errors -> errors
        | Ok(g, _, _) ->
            match KernelFit.refuseDepthwise g, Compress.misfits path m @ Surgery.refusal path model with
            | Error errors, _
            | Ok(), errors -> errors

    let private layer (model: torch.nn.Module) (paths: string list, m: torch.nn.Module) (shapes: int64 list list) : LayerReport =
        let empty =
            {
                Paths = paths
                Kind = ModulePath.typeOf m
                Shape = []
                Parameters = m.parameters false |> Seq.sumBy _.numel()
                Flops = shapes |> List.sumBy (flopsOf m)
                Input = List.tryHead shapes |> Option.defaultValue []
                Obstacles = []
                Network = ""
                Format = ""
                KernelError = nan
                Sensitivity = nan
            }

        match m with
        | :? FactorizedLayer as layer ->
            use _ = torch.no_grad ()
            use _ = torch.NewDisposeScope()
            let origin = layer.Origin |> Option.defaultValue { Format = ""; KernelError = nan }

            { empty with
                Shape = ConvGeometry.weightShape layer.Geometry
                Network = Spec.print layer.Spec
                Format = origin.Format
                KernelError = origin.KernelError
                Sensitivity = layer.Sensitivity().``to``(torch.float64).item<float>()
            }
        | _ ->
            let shape =
                match geometryOf m with
                | Ok g -> ConvGeometry.weightShape g
                | Error _ -> []

            { empty with Shape = shape; Obstacles = obstacles paths.Head m model |> List.map _.Message }

    /// The modules of a model that hold parameters themselves, each with all its paths.
    let internal holders (model: torch.nn.Module) : (string list * torch.nn.Module) list =
        ModulePath.placed model |> List.filter (fun (_, m) -> not (Seq.isEmpty (m.parameters false)))

    /// The most numbers of an input: 8 GiB of them.
    let private mostNumbers = 2147483648.0

    let private checkedShape (shape: int64 list) : Result<unit, TensorNetError list> =
        let isHeld =
            shape |> List.forall (fun size -> size >= 0L)
            && (shape |> List.fold (fun n size -> n * float size) 1.0) <= mostNumbers

        if isHeld then
            Ok()
        else
            Error [ TensorNetError.Shape("The input", shape, "sizes from 0 up, at most 2³¹ numbers") ]

    /// The fewest tokens that an embedding of a model knows; None of a model without embeddings.
    let private leastVocabulary (model: torch.nn.Module) : int64 option =
        [
            for _, m in ModulePath.placed model do
                match m with
                | :? FactorizedLayer as layer when layer.Geometry.IsEmbedding -> layer.Geometry.InChannels
                | :? Modules.Embedding -> (nonNull (m.get_parameter "weight")).shape[0]
                | _ -> ()
        ]
        |> function
            | [] -> None
            | sizes -> Some(List.min sizes)

    /// The calls of some modules, in their order, each the place of a module with the shape of its input, while an input runs through a
    /// model: tokens that all its embeddings know, if it has some and takes them, else white noise.
    let internal calls (shape: int64 list) (modules: torch.nn.Module list) (model: torch.nn.Module<Tensor, Tensor>) =
        use _ = Mode.left ()
        use _ = torch.NewDisposeScope()
        let seen = ResizeArray<int * int64 list>()

        let watched =
            [
                for at, m in List.indexed modules do
                    match m with
                    | :? torch.nn.Module<Tensor, Tensor> as layer -> layer, (fun (x: Tensor) -> seen.Add(at, Check.shapeOf x))
                    | _ -> ()
            ]

        let like = model.parameters true |> Seq.tryHead
        let dtype = like |> Option.map _.dtype |> Option.defaultValue torch.float32
        let device = like |> Option.map _.device |> Option.defaultValue torch.CPU

        let noise () =
            use generator = new torch.Generator(1UL)
            (Fresh.noise generator torch.float32 device (List.toArray shape)).``to`` dtype

        let tokens (vocabulary: int64) =
            use generator = new torch.Generator(1UL)
            torch.randint(0L, vocabulary, List.toArray shape, dtype = torch.int64, device = torch.CPU, generator = generator).``to`` device

        let run (input: Tensor) =
            seen.Clear()

            Calibration.pass (fun _ -> false) watched [ input ] model |> Result.map (fun () -> List.ofSeq seen)

        checkedShape shape
        |> Result.bind (fun () ->
            match leastVocabulary model with
            | None -> run (noise ())
            | Some vocabulary ->
                match run (tokens vocabulary) with
                | Ok calls -> Ok calls
                | Error errors -> run (noise ()) |> Result.mapError (fun others -> errors @ others))

    /// The shapes of the inputs of each of some modules, for each of its calls.
    let internal inputs (modules: 'T list) (calls: (int * int64 list) list) : int64 list list list =
        [
            for at in 0 .. modules.Length - 1 ->
                [
                    for place, shape in calls do
                        if place = at then
                            shape
                ]
        ]

    /// <summary>What every layer of a model costs for an input of a shape, taken from a forward pass in evaluation mode, and whether it can
    /// be factorized; of factorized layers format, ranks, kernel error and S.</summary>
    /// <remarks>The input is white noise in the dtype and on the device of the model, or tokens where it has an embedding that takes them;
    /// the model is as it was afterwards. FLOPs are those of linear layers, convolutions and factorized embeddings, of which a dense one
    /// has none; a layer that is not called by <c>call</c>, but by <c>forward</c>, is not seen. Errors: <c>Shape</c>
    /// for an input that the model does not take; <c>Disposed</c>.</remarks>
    /// <param name="shape">The shape of the input, images first.</param>
    /// <param name="model">The model.</param>
    /// <example><code>ModelReport.make [ 1L; 4L; 8L; 8L ] model |> orStop</code></example>
    let make (shape: int64 seq) (model: torch.nn.Module<Tensor, Tensor>) : Result<ModelReport, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(shape, nameof shape)
        ArgumentNullException.ThrowIfNull(model, nameof model)
        let shape = List.ofSeq shape

        match Check.alive "The model" model with
        | [] ->
            let all = holders model

            calls shape (List.map snd all) model
            |> Result.map (fun calls ->
                let layers = List.map2 (layer model) all (inputs all calls)

                {
                    Input = shape
                    Layers = layers
                    Parameters = layers |> List.sumBy _.Parameters
                    Flops = layers |> List.sumBy _.Flops
                })
        | errors -> Error errors
