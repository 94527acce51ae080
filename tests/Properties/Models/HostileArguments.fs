/// An argument for every type in a public signature, by its name where that says more. What is not known here fails the law: a new function
/// of the library comes with the arguments that it can be given.
module HostileArguments

// Reflection does not say what may be null.
#nowarn "3261"

open System
open System.Collections.Generic
open System.Threading
open FSharp.Reflection
open TorchSharp
open TensorNets
open TensorNets.CSharp
open HostileSpecs
open HostileTensors
open HostileModules
open HostileValues

/// How many of a list, and which; lists of cores, ranks and the like go with the spec.
let private some (d: Draw) (make: unit -> obj) : obj list = List.init (d.Pick [ 0; 1; 1; 2; 2; 3; 4 ]) (fun _ -> make ())

let private listOf (element: Type) (items: obj list) : obj =
    let cases = FSharpType.GetUnionCases(typedefof<_ list>.MakeGenericType element)

    List.foldBack (fun item rest -> FSharpValue.MakeUnion(cases[1], [| item; rest |])) items (FSharpValue.MakeUnion(cases[0], [||]))

let private arrayOf (element: Type) (items: obj list) : obj =
    let array = Array.CreateInstance(element, items.Length)
    items |> List.iteri (fun i item -> array.SetValue(item, i))
    array

let private genericOf (t: Type) = if t.IsGenericType then t.GetGenericTypeDefinition() else t

let private cores (d: Draw) : (string * Tensor) list =
    let spec = spec d

    [
        for core in spec.Cores do
            if d.Chance 0.95 then
                core.Name, tensor d (if d.Chance 0.95 then Spec.coreShape core spec else anyShape d)
        if d.Chance 0.05 then
            name d, tensor d (anyShape d)
    ]

/// A plan for a small model, edited: most models that it meets are others.
let private compressionPlan (d: Draw) : CompressionPlan =
    use _ = torch.NewDisposeScope()

    use model =
        torch.nn.Sequential(struct ("conv", (torch.nn.Conv2d(3L, 4L, 3L): TensorModule)), struct ("relu", (torch.nn.ReLU(): TensorModule)))

    let options =
        { CompressionPlan.defaults with KeepFirst = false; KeepLast = false; Sweeps = 1; Workers = 1 }

    match
        CompressionPlan.make
            (d.Pick [ Budget.LayerError 0.0; Budget.LayerError 0.9; Budget.LayerError 1.0; Budget.ByteRatio 2.0 ])
            options
            [ 1L; 3L; 5L; 5L ]
            model
    with
    | Ok plan when d.Chance 0.1 -> { plan with Layers = [ for layer in plan.Layers -> { layer with Chosen = 99 } ] }
    | Ok plan -> plan
    | Error errors -> invalidOp $"%A{errors}"

/// Without a work folder: what a path can be is drawn where files are written.
let private compressOptions (d: Draw) : CompressOptions =
    { ModelCompression.defaults with
        Sweeps = d.Pick [ 1; 2; 3; 0; -1 ]
        Corrections = d.Pick [ 0; 1; 2; -1 ]
        Slack = d.Pick floats
        Workers = d.Pick [ 0; 1; 2; -1 ]
        ReleaseLayers = d.Chance 0.1
        TimeLimit = d.Pick [ None; None; Some TimeSpan.Zero; Some(TimeSpan.FromSeconds -1.0) ]
        Cancellation = CancellationToken(d.Chance 0.1)
    }

let private binaryReader (d: Draw) =
    let reader = new IO.BinaryReader(readable d)

    if d.Chance 0.1 then
        reader.Dispose()

    reader

/// What a layer of a source reads: a weight, or what is none.
let private reading (d: Draw) : unit -> Result<Tensor, TensorNetError list> =
    // Drawn here: it is read on other threads.
    let read =
        if d.Chance 0.1 then
            Error [ TensorNetError.MissingKey "weight" ]
        else
            Ok(tensor d (d.Pick [ [ 4L; 3L; 3L; 3L ]; [ 4L; 3L ]; [ 4L ]; anyShape d ]))

    fun () -> read

let private sourceLayer (d: Draw) : SourceLayer =
    {
        Path = d.Pick [ "conv"; "conv"; "a.b"; "" ]
        Kind = "Conv2d"
        Geometry = if d.Chance 0.3 then geometry d else { ConvGeometry.plain 2 3L 4L with Kernel = [ 3L; 3L ] }
        Inputs = d.Pick [ []; [ [ 1L; 3L; 5L; 5L ] ]; [ [ 1L; 3L; 5L; 5L ]; [ 2L ] ] ]
        Kept = d.Pick [ ""; ""; "a reason" ]
        Weight = reading d
        Bias = if d.Chance 0.5 then None else Some(reading d)
    }

let private layerSource (d: Draw) : LayerSource =
    {
        Layers = List.init (d.Below 3) (fun _ -> sourceLayer d)
        OtherParameters = int64 (d.Pick ints)
        Input = d.Pick [ []; [ 1L; 3L; 5L; 5L ] ]
    }

/// A small network of integers.
let private quantized (d: Draw) : QuantizedNetwork =
    use network =
        Format.spec [ 3; 4; 5 ] (Format.CP 2)
        |> Result.map (Network.random torch.float32 d.Seed)
        |> Result.defaultWith (fun errors -> invalidOp $"%A{errors}")

    let options =
        { Quantization.defaults with
            Bits = 2 + d.Below 7
            Scales = d.Pick [ Scales.PerCore; Scales.PerSlice; Scales.PerGroup 3 ]
        }

    Quantization.round options network
    |> Result.defaultWith (fun errors -> invalidOp $"%A{errors}")
    |> d.Own

/// An argument of a type, under the name of its parameter, for a function.
let rec make (d: Draw) (owner: string) (name': string) (t: Type) : obj | null =
    let is (other: Type) = t = other

    let known: (Type * (unit -> obj | null)) list =
        [
            typeof<int>, (fun () -> integer d name')
            typeof<int64>, (fun () -> int64 (d.Pick ints))
            typeof<uint64>, (fun () -> box d.Seed)
            typeof<float>, (fun () -> d.Pick floats)
            typeof<bool>, (fun () -> d.Chance 0.5)
            typeof<string>, (fun () -> if d.Chance 0.02 then null else text d owner name')
            typeof<torch.ScalarType>, (fun () -> dtype d)
            typeof<PaddingModes>, (fun () -> d.Pick [ PaddingModes.Zeros; PaddingModes.Circular; enum<PaddingModes> 9 ])
            typeof<Tensor>, (fun () -> tensorFor d owner name')
            typeof<Spec>,
            (fun () ->
                if d.Chance 0.05 then hugeSpec d
                elif d.Chance 0.8 && owner = "Layer" then (layer d).Spec
                else spec d)
            typeof<Axis>, (fun () -> axis d)
            typeof<Core>, (fun () -> if d.Chance 0.8 then d.Pick (spec d).Cores else { Name = name d; Axes = [ axis d ] })
            typeof<Plan>, (fun () -> plan d)
            typeof<SensitivityPlan>, (fun () -> Sensitivity.plan (spec d))
            typeof<Network>, (fun () -> networkFor d owner)
            typeof<QuantizedNetwork>, (fun () -> quantized d)
            typeof<QuantizedCore>, (fun () -> (quantized d).Cores[0])
            typeof<Norm>, (fun () -> norm d)
            typeof<Format>, (fun () -> format d (shape d))
            typeof<DimTree>, (fun () -> dimTree d rank [ 0 .. d.Below 4 ])
            typeof<ModeTree>, (fun () -> d.Pick [ ModeTree.Mode 0; ModeTree.Split []; ModeTree.Split [ ModeTree.Mode 0; ModeTree.Mode 1 ] ])
            typeof<FormatFamily>, (fun () -> family d)
            typeof<ConvGeometry>, (fun () -> geometry d)
            typeof<SafeTensorReader>, (fun () -> reader d)
            typeof<FactorizedLayer>, (fun () -> layer d)
            typeof<Module>, (fun () -> moduleFor d name')
            typeof<TensorModule>, (fun () -> if name' = "model" || name' = "root" then box (model d) else dense d)
            typeof<Modules.Embedding>, (fun () -> d.Own(torch.nn.Embedding(12L, 4L, dtype = d.Pick [ torch.float32; torch.float64 ])))
            typeof<Modules.Conv2d>, (fun () -> d.Own(torch.nn.Conv2d(3L, 4L, 3L, dtype = d.Pick [ torch.float32; torch.float64 ])))
            typeof<torch.optim.Optimizer>, (fun () -> optimizer d)
            typeof<CancellationToken>, (fun () -> CancellationToken(d.Chance 0.1))
            typeof<IProgress<FitProgress>>, (fun () -> progress d: IProgress<FitProgress>)
            typeof<IProgress<PlanProgress>>, (fun () -> progress d: IProgress<PlanProgress>)
            typeof<CompressionPlan>, (fun () -> if d.Chance 0.02 then null else box (compressionPlan d))
            typeof<SourceLayer>, (fun () -> sourceLayer d)
            typeof<LayerSource>, (fun () -> if d.Chance 0.02 then null else box (layerSource d))
            typeof<unit -> Result<Tensor, TensorNetError list>>, (fun () -> box (reading d))
            typeof<Func<Tensor>>,
            (fun () ->
                let given = tensor d (anyShape d)
                if d.Chance 0.02 then null else box (Func<Tensor>(fun () -> given)))
            typeof<PlannedLayer -> PlanCandidate list -> float list>,
            (fun () ->
                let time, lost = d.Pick [ 1.0; 0.0; -1.0; nan ], d.Below 2
                box (fun (_: PlannedLayer) (some: PlanCandidate list) -> List.replicate (some.Length + 1 - lost) time))
            typeof<TensorModule -> float>, (fun () -> box (fun (_: TensorModule) -> d.Pick [ 0.0; 1.0; -1.0; nan; infinity ]))
            typeof<Func<TensorModule, float>>,
            (fun () ->
                if d.Chance 0.1 then
                    null
                else
                    box (Func<TensorModule, float>(fun _ -> d.Pick [ 0.0; 1.0; -1.0; nan; infinity ])))
            typeof<Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<float>>>,
            (fun () ->
                if d.Chance 0.5 then
                    null
                else
                    box (
                        Func<PlannedLayer, IReadOnlyList<PlanCandidate>, IReadOnlyList<float>>(fun _ some ->
                            List.replicate (some.Count + 1) 1.0)
                    ))
            typeof<CompressOptions>, (fun () -> compressOptions d)
            typeof<CompressSettings>, (fun () -> if d.Chance 0.2 then null else box (CompressSettings(d.Pick [ 1; 2; 0 ], Workers = 1)))
            typeof<IO.Stream>, (fun () -> if d.Chance 0.03 then null else stream d)
            typeof<IReadOnlyDictionary<string, Tensor>>, (fun () -> dictionary d name')
            typeof<Dictionary<string, Tensor>>, (fun () -> dictionary d name')
            typeof<Dictionary<string, bool>>, (fun () -> if d.Chance 0.5 then null else Dictionary<string, bool>())
            typeof<IList<string>>, (fun () -> if d.Chance 0.5 then null else List [ d.Pick [ "A"; "weight" ] ])
            typeof<IO.BinaryReader>, (fun () -> if d.Chance 0.03 then null else binaryReader d)
            typeof<IReadOnlyDictionary<string, string>>,
            (fun () -> if d.Chance 0.5 then null else Dictionary(dict [ d.Pick [ "a"; "format" ], d.Pick [ "b"; "" ] ]))
            typeof<IReadOnlyDictionary<string, int>>,
            (fun () -> if d.Chance 0.5 then null else Dictionary(dict [ d.Pick [ "a"; "zz" ], d.Pick [ 2; 0 ] ]))
            typeof<Map<string, Tensor>>, (fun () -> Map.ofList (cores d))
            typeof<(string * Tensor) seq>, (fun () -> cores d)
            typeof<SweepOptions>, (fun () -> record d owner t)
            typeof<string -> Module -> Format option>, (fun () -> box (fun (_: string) (_: Module) -> chosen d))
            typeof<Func<string, Module, bool>>, (fun () -> box (Func<string, Module, bool>(fun _ _ -> d.Chance 0.5)))
            typeof<Func<string, Module, Format>>,
            (fun () -> box (Func<string, Module, Format>(fun _ _ -> Option.defaultValue Unchecked.defaultof<Format> (chosen d))))
        ]

    match known |> List.tryFind (fst >> is) with
    | Some(_, make) -> make ()
    | None -> composed d owner name' t

and private moduleFor (d: Draw) (name': string) : obj | null =
    if d.Chance 0.02 then null
    elif (name' = "model" || name' = "root") && d.Chance 0.9 then model d
    else anyModule d

and private dictionary (d: Draw) (name': string) : obj | null =
    if d.Chance 0.03 then
        null
    elif name' = "cores" then
        let given = Dictionary<string, Tensor>()

        for name, core in cores d do
            given[name] <- core

        given
    else
        state d (d.Pick [ model d :> Module; layer d; dense d ])

and private record (d: Draw) (owner: string) (t: Type) : obj =
    FSharpValue.MakeRecord(t, [| for field in FSharpType.GetRecordFields t -> make d owner field.Name field.PropertyType |])

/// What is made of other things: lists, tuples, options, records, unions, and records of C#.
and private composed (d: Draw) (owner: string) (name': string) (t: Type) : obj | null =
    let item (element: Type) () = make d owner name' element
    let arguments = if t.IsGenericType then t.GetGenericArguments() else [||]
    let definition = genericOf t

    if definition = typedefof<_ list> then
        listOf arguments[0] (some d (item arguments[0]))
    elif t.IsArray then
        arrayOf (nonNull (t.GetElementType())) (some d (item (nonNull (t.GetElementType()))))
    elif List.contains definition [ typedefof<_ seq>; typedefof<IReadOnlyList<_>> ] then
        if d.Chance 0.02 then null else arrayOf arguments[0] (some d (item arguments[0]))
    elif definition = typedefof<Nullable<_>> then
        if d.Chance 0.5 then null else item arguments[0] ()
    elif definition = typedefof<_ option> then
        let cases = FSharpType.GetUnionCases t
        if d.Chance 0.5 then null else FSharpValue.MakeUnion(cases[1], [| item arguments[0] () |])
    elif FSharpType.IsTuple t then
        FSharpValue.MakeTuple([| for element in FSharpType.GetTupleElements t -> make d owner name' element |], t)
    elif FSharpType.IsUnion t && t.Assembly = typeof<Spec>.Assembly then
        let case = d.Pick(List.ofArray (FSharpType.GetUnionCases t))
        FSharpValue.MakeUnion(case, [| for field in case.GetFields() -> make d owner field.Name field.PropertyType |])
    elif FSharpType.IsRecord t then
        record d owner t
    elif t.Assembly = typeof<FitOptions>.Assembly && not (t.GetConstructors().Length = 0) then
        if d.Chance 0.2 then
            null
        else
            let constructor = t.GetConstructors() |> Array.maxBy (fun c -> c.GetParameters().Length)
            constructor.Invoke [| for p in constructor.GetParameters() -> make d owner (nonNull p.Name) p.ParameterType |]
    elif typeof<FactorizedLayer>.IsAssignableFrom t then
        ofKind d t
    else
        raise (NotSupportedException($"no argument is known for {name'}: {t}"))

/// A layer of one kind.
and private ofKind (d: Draw) (t: Type) : obj =
    d.Once(
        t.Name,
        fun () ->
            use like: Module =
                match t.Name with
                | "FactorizedLinear" -> torch.nn.Linear(3L, 4L)
                | "FactorizedConv1d" -> torch.nn.Conv1d(3L, 4L, 3L)
                | "FactorizedConv3d" -> torch.nn.Conv3d(2L, 3L, 2L)
                | "FactorizedConvTranspose1d" -> torch.nn.ConvTranspose1d(3L, 4L, 3L)
                | "FactorizedConvTranspose2d" -> torch.nn.ConvTranspose2d(3L, 4L, 3L)
                | "FactorizedEmbedding" -> torch.nn.Embedding(5L, 4L)
                | _ -> torch.nn.Conv2d(3L, 4L, 3L)

            match Layers.fresh None KernelAxes.Fused d.Seed 1.0 (Format.CP 2) like with
            | Ok layer -> d.Own(box layer)
            | Error errors -> invalidOp $"%A{errors}"
    )
