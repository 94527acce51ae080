namespace TensorNets

open System
open System.Collections.Generic
open TorchSharp

/// <summary>How far a tensor of one state is from that of another one.</summary>
type TensorDifference =
    {
        /// Its name in both, a factorized layer's kernel under that of the dense weight.
        Name: string
        /// Its shape in the first state.
        Shape: IReadOnlyList<int64>
        /// ‖A − B‖ / ‖A‖ in the Frobenius norm; NaN where shapes differ; 0 where both are zero.
        RelativeError: float
    }

/// <summary>Two states, tensor by tensor.</summary>
type StateDifference =
    {
        /// What both have, in the order of the first.
        Tensors: IReadOnlyList<TensorDifference>
        /// The names of what the second lacks.
        OnlyFirst: IReadOnlyList<string>
        /// The names of what the first lacks.
        OnlySecond: IReadOnlyList<string>
        /// Numbers in all tensors of the first file.
        FirstParameters: int64
        /// Numbers in all tensors of the second file.
        SecondParameters: int64
    }

/// <summary>Files of states compared, compressed ones by what their layers stand for.</summary>
[<RequireQualifiedAccess>]
module StateComparison =
    /// A tensor of a state by its dense name, read or made when it is asked for.
    type private Item = { Key: string; Shape: int64 list; Get: unit -> Result<Tensor, TensorNetError list> }

    let private isCompressed (file: SafeTensorReader) =
        file.Metadata.ContainsKey LayerFile.versionKey && file.Metadata.ContainsKey ModelFile.modelKey

    /// The layers of a file as those of the dense state, and all other tensors.
    let private items (file: SafeTensorReader) (layers: StoredLayer seq) : Item list =
        let own = HashSet<string>()

        let ofLayer (stored: StoredLayer) =
            let path = stored.Paths[0]

            for name, _ in LayerTensors.contents (path + ".") stored.Layer do
                own.Add name |> ignore

            let shape = ConvGeometry.weightShape stored.Layer.Geometry

            [
                { Key = path + ".weight"; Shape = shape; Get = fun () -> Ok(stored.Layer.Kernel()) }
                match stored.Layer.Bias with
                | null -> ()
                | bias -> { Key = path + ".bias"; Shape = Check.shapeOf bias; Get = fun () -> Ok(bias :> Tensor) }
            ]

        let factorized = layers |> Seq.toList |> List.collect ofLayer

        [
            yield! factorized
            for entry in file.Entries do
                if not (own.Contains entry.Name) then
                    { Key = entry.Name; Shape = entry.Shape; Get = fun () -> file.Read entry.Name }
        ]

    let private relative (a: Tensor) (b: Tensor) : float =
        let wide (tensor: Tensor) = tensor.detach().``to`` torch.float64
        let a, b = wide a, wide b
        let norm (tensor: Tensor) = tensor.norm().item<float>()
        let size, distance = norm a, norm (a - b)
        if distance = 0.0 then 0.0 else distance / size

    let private difference (a: Item) (b: Item) : Result<TensorDifference, TensorNetError list> =
        if a.Shape <> b.Shape then
            Ok { Name = a.Key; Shape = a.Shape; RelativeError = nan }
        else
            use _ = torch.NewDisposeScope()
            use _ = torch.no_grad ()

            a.Get()
            |> Result.bind (fun x -> b.Get() |> Result.map (fun y -> { Name = a.Key; Shape = a.Shape; RelativeError = relative x y }))

    let private ofItems (first: Item list) (second: Item list) : Result<StateDifference, TensorNetError list> =
        let known = dict [ for item in second -> item.Key, item ]
        let names = HashSet [ for item in first -> item.Key ]

        [
            for item in first do
                match known.TryGetValue item.Key with
                | true, other -> difference item other
                | _ -> ()
        ]
        |> TensorNetError.collect
        |> Result.map (fun tensors ->
            {
                Tensors = tensors
                OnlyFirst = [ for item in first |> List.filter (fun item -> not (known.ContainsKey item.Key)) -> item.Key ]
                OnlySecond = [ for item in second |> List.filter (fun item -> not (names.Contains item.Key)) -> item.Key ]
                FirstParameters = 0L
                SecondParameters = 0L
            })

    let private count (file: SafeTensorReader) = file.Entries |> Seq.sumBy (fun entry -> List.fold (*) 1L entry.Shape)

    /// The items of a file, its factorized layers alive meanwhile.
    let private withItems (path: string) (next: SafeTensorReader -> Item list -> Result<'T, TensorNetError list>) =
        SafeTensors.read path (fun file ->
            if isCompressed file then
                StateFile.layers path
                |> Result.bind (fun layers ->
                    try
                        next file (items file layers)
                    finally
                        for stored in layers do
                            stored.Layer.Dispose())
            else
                next file (items file []))

    /// <summary>Compares the tensors of two safetensors files, one after the other: a factorized layer counts as the dense weight that it
    /// contracts to. Errors: <c>BadFile</c>; those of <c>StateFile.layers</c>.</summary>
    /// <example><code>ModelFile.save path model |> Result.bind (fun () -> StateComparison.files path path) |> orStop</code></example>
    let files (first: string) (second: string) : Result<StateDifference, TensorNetError list> =
        ArgumentNullException.ThrowIfNull(first, nameof first)
        ArgumentNullException.ThrowIfNull(second, nameof second)
        use _ = Mode.left ()

        withItems first (fun one a ->
            withItems second (fun two b ->
                ofItems a b
                |> Result.map (fun found -> { found with FirstParameters = count one; SecondParameters = count two })))
