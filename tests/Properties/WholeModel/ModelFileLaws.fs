/// Compressed models as one file.
module ModelFileLaws

open System
open System.IO
open Expecto
open TorchSharp
open TensorNets
open Generators
open FileCases
open SmallModels

let private quick = { Factorize.defaults with Sweeps = { SweepOptions.defaults with MaxSweeps = 2 } }

let private compressed () =
    let model = new EveryKind()

    for path, format in everyKind do
        Compress.layer quick None format path model |> ok |> ignore

    let root = noise 1 [ 6L; 6L ]

    for path, layer in Compress.factorized model do
        if path = "first" then
            layer.SetNorm(Norm.Weighted([ 0 ], root.matmul root.mT))
        elif path = "head" then
            layer.Factors[0].requires_grad <- false

    model

let private stateOf (model: torch.nn.Module) = [ for KeyValue(key, tensor) in model.state_dict () -> key, bytesOf tensor ] |> Map.ofList

let private sameLayers (a: torch.nn.Module) (b: torch.nn.Module) =
    for (path, one), (otherPath, other) in List.zip (Compress.factorized a) (Compress.factorized b) do
        Expect.equal path otherPath "path"
        Expect.equal other.Spec one.Spec path
        Expect.equal other.Geometry one.Geometry path
        Expect.equal other.Lowering one.Lowering path
        Expect.equal other.Origin one.Origin path

        for x, y in Seq.zip one.Factors other.Factors do
            Expect.equal y.requires_grad x.requires_grad path

let private formats =
    testList
        "formats as text"
        [
            testPropertyWithConfig config "what is printed is read as the same format" (fun (case: FormatCase) ->
                FormatText.parse (FormatText.print case.Format) = Some case.Format)
            testCase "other text is no format" (fun () ->
                for text in
                    [
                        ""
                        "CP"
                        "CP()"
                        "CP(-1)"
                        "CP(1,2)"
                        "CP(99999999999)"
                        "TT(1,)"
                        "HT(1:)"
                        "HT(1:2"
                        "X(1)"
                        "CP(1))"
                        "HT(" + String('(', 1000)
                    ] do
                    Expect.isNone (FormatText.parse text) text)
        ]

let private roundTrip =
    testCase "a model of every kind of layer, groups and a tied layer comes back to the bit, and computes the same" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let path = Path.Combine(folder, "model")
            use model = compressed ()
            let x = images 1 2L
            model.call x |> ignore
            model.eval ()
            ModelFile.save path model |> ok
            use fresh = new EveryKind()
            fresh.eval ()
            ModelFile.load path fresh |> ok
            Expect.equal (stateOf fresh) (stateOf model) "state"
            sameLayers model fresh
            Expect.isTrue (identical (fresh.call x) (model.call x)) "output"
            let byPath = Surgery.paths fresh |> dict
            Expect.isTrue (obj.ReferenceEquals(byPath["first"], byPath["second"])) "tied"
            let norm (m: torch.nn.Module) = (Surgery.find "first" m |> ok :?> FactorizedLayer).Sensitivity()
            Expect.isTrue (identical (norm fresh) (norm model)) "S in the norm"
            // Once more from what was loaded: the same bytes.
            let again = Path.Combine(folder, "again")
            ModelFile.save again fresh |> ok
            Expect.equal (File.ReadAllBytes again) (File.ReadAllBytes path) "bytes"
            // Into what is compressed already, and into another dtype.
            ModelFile.load path fresh |> ok
            Expect.equal (stateOf fresh) (stateOf model) "state"
            use wide = new EveryKind()
            wide.``to`` torch.float64 |> ignore
            ModelFile.load path wide |> ok
            Expect.isTrue (wide.parameters true |> Seq.forall (fun p -> p.dtype = torch.float64)) "dtype of the model"))

/// The file with other metadata or tensors.
let private edited (path: string) (about: string -> string) (tensors: (string * Tensor) list -> (string * Tensor) list) =
    let metadata, found =
        SafeTensors.read path (fun file ->
            file.ReadAll() |> Result.map (fun found -> [ for KeyValue(k, v) in file.Metadata -> k, v ], found))
        |> ok

    let other = path + ".other"

    SafeTensors.save other [ for key, value in metadata -> key, (if key = "model" then about value else value) ] (tensors found)
    |> ok

    other

type private Untied() as this =
    inherit torch.nn.Module<Tensor, Tensor>("Untied")
    let first: Layer = torch.nn.Conv2d(6L, 6L, 3L, padding = 1L)
    let second: Layer = torch.nn.Conv2d(6L, 6L, 3L, padding = 1L)
    do this.RegisterComponents()
    override _.forward x = second.call (first.call x)

let private refused =
    testCase "what does not fit is a typed error with the reason, and the model is as it was" (fun () ->
        use _ = torch.NewDisposeScope()

        inFolder (fun folder ->
            let path = Path.Combine(folder, "model")
            use model = compressed ()
            ModelFile.save path model |> ok

            let refuse (expected: string) (target: torch.nn.Module) file =
                let before = stateOf target
                let modules = Surgery.paths target |> List.map snd

                match ModelFile.load file target with
                | Ok() -> failtestf "%s was loaded" expected
                | Error errors ->
                    let text = String.Join("; ", errors |> List.map _.Message)
                    Expect.stringContains text expected "reason"

                Expect.equal (stateOf target) before expected

                Expect.isTrue
                    (List.forall2 (fun a b -> obj.ReferenceEquals(a, b)) modules (Surgery.paths target |> List.map snd))
                    "modules"

            use fresh = new EveryKind()
            let same = id
            let about (part: string) (other: string) = edited path (fun text -> text.Replace(part, other)) same
            refuse "there is no such file" fresh (path + "?")
            refuse "no tensor 'head.A'" fresh (edited path id (List.filter (fun (name, _) -> name <> "head.A")) |> fun file -> file)
            refuse "'norm.weight'" fresh (edited path id (List.filter (fun (name, _) -> name <> "norm.weight")))
            refuse "more" fresh (edited path id (fun tensors -> ("more", torch.ones 1L) :: tensors))
            refuse "Malformed JSON" fresh (about "{\"layers\"" "{\"layers")

            refuse
                "no submodule 'heads'"
                fresh
                (about "\"paths\":[\"head\"]" "\"paths\":[\"heads\"]"
                 |> fun file -> edited file id (List.map (fun (n, t) -> n.Replace("head.", "heads."), t)))

            refuse "one layer at 'first'; the model has one at 'first', 'second'" fresh (about "[\"first\",\"second\"]" "[\"first\"]")
            refuse "two layers at 'head'" fresh (about "[\"point\"]" "[\"head\"]")
            refuse "an empty array" fresh (about "[\"point\"]" "[]")

            refuse
                "of another geometry"
                fresh
                (about "\"stride\":[2,2],\"dilation\":[1,1],\"before\":[1,1]" "\"stride\":[1,2],\"dilation\":[1,1],\"before\":[1,1]")

            refuse
                "expected a compressed model"
                fresh
                (let f = path + ".plain" in
                 SafeTensors.save f [] [] |> ok
                 f)

            refuse
                "is a BatchNorm2d"
                fresh
                (edited
                    path
                    (fun text -> text.Replace("[\"stem\"]", "[\"norm\"]"))
                    (List.map (fun (n, t) -> n.Replace("stem.", "norm."), t) >> List.distinctBy fst))

            use untied = new Untied()
            refuse "no submodule 'stem'" untied path
            let bytes = File.ReadAllBytes path

            for cut in [ 0; 7; 100; bytes.Length / 2; bytes.Length - 1 ] do
                File.WriteAllBytes(path, bytes[.. cut - 1])
                refuse "cannot be read" fresh path))

/// What becomes of a layer of a file in the model that it is loaded into.
[<RequireQualifiedAccess>]
type private Fate =
    | Fits
    | OtherWidth
    | OtherName

let private everyMisfit =
    testPropertyWithConfig
        { config with maxTest = max 1 (config.maxTest / 5) }
        "loading into a wrong model names every layer that does not fit, and no other"
        (fun (seed: int) ->
            use _ = torch.NewDisposeScope()
            let random = Random seed

            let fates =
                [| for _ in 0..7 -> [| Fate.Fits; Fate.Fits; Fate.OtherWidth; Fate.OtherName |][random.Next 4] |]

            let isCompressed = [| for _ in 0..7 -> random.Next 3 > 0 |]

            let make (width: int -> int64) (name: int -> string) =
                torch.nn.Sequential [| for i in 0..7 -> struct (name i, (torch.nn.Linear(6L, width i): Layer)) |]

            use model = make (fun _ -> 6L) (fun i -> $"l{i}")

            for i in 0..7 do
                if isCompressed[i] then
                    Compress.layer quick None (Format.TensorTrain [ 2 ]) $"l{i}" model |> ok |> ignore

            use other =
                make (fun i -> if fates[i] = Fate.OtherWidth then 5L else 6L) (fun i ->
                    if fates[i] = Fate.OtherName then $"m{i}" else $"l{i}")

            inFolder (fun folder ->
                let path = Path.Combine(folder, "model")
                ModelFile.save path model |> ok

                match ModelFile.load path other with
                | Ok() -> Expect.isTrue (Array.forall ((=) Fate.Fits) fates) "it was loaded"
                | Error errors ->
                    for i in 0..7 do
                        // What a model has under names that a file does not know is its own error; that of a layer begins with its name.
                        let isNamed =
                            errors
                            |> List.exists (function
                                | TensorNetError.PathNotFound(found, _) -> found = $"l{i}"
                                | TensorNetError.KeyShape(key, _, _)
                                | TensorNetError.UnknownKey(key, _) -> key.StartsWith $"l{i}."
                                | error -> error.Message.Contains $"'l{i}'")

                        Expect.equal isNamed (fates[i] <> Fate.Fits) $"l{i}, compressed {isCompressed[i]}: {fates[i]}"))

/// Layers in fields of their own types, which hold no other.
type private Narrow() as this =
    inherit torch.nn.Module<Tensor, Tensor>("Narrow")
    let a: Layer = torch.nn.Linear(6L, 6L)
    let b = torch.nn.Linear(6L, 6L)
    let c = torch.nn.Linear(6L, 6L)
    do this.RegisterComponents()
    override _.forward x = c.call (b.call (a.call x))

/// A factorized layer in a field of its own type.
type private Own(layer: FactorizedLinear) as this =
    inherit torch.nn.Module<Tensor, Tensor>("Own")
    let a = layer
    let b: Layer = torch.nn.Linear(6L, 6L)
    do this.RegisterComponents()
    override _.forward x = b.call (a.call x)

let private ownField =
    testCase "a compressed model is loaded into one whose field is of the factorized layer's own type" (fun () ->
        use _ = torch.NewDisposeScope()

        let made seed =
            let spec = Spec.parse [] "sa, at -> st | s=6 t=6 a=2" |> specOk
            let network = Network.random torch.float32 seed spec
            new Own((Layers.ofNetwork None (ConvGeometry.plain 0 6L 6L) None network |> ok) :?> FactorizedLinear)

        inFolder (fun folder ->
            let path = Path.Combine(folder, "model")
            use model = made 1UL
            use other = made 2UL
            ModelFile.save path model |> ok
            ModelFile.load path other |> ok
            Expect.equal (stateOf other) (stateOf model) "the state"))

let private everySealedField =
    testCase "loading into a model with fields of too narrow a type names each of them, and changes nothing" (fun () ->
        use _ = torch.NewDisposeScope()

        use model =
            torch.nn.Sequential [| for name in [ "a"; "b"; "c" ] -> struct (name, (torch.nn.Linear(6L, 6L): Layer)) |]

        for path in [ "a"; "b"; "c" ] do
            Compress.layer quick None (Format.TensorTrain [ 2 ]) path model |> ok |> ignore

        inFolder (fun folder ->
            let path = Path.Combine(folder, "model")
            ModelFile.save path model |> ok
            use narrow = new Narrow()
            let before = stateOf narrow

            match ModelFile.load path narrow with
            | Ok() -> failtest "it was loaded"
            | Error errors ->
                let paths =
                    errors
                    |> List.map (function
                        | TensorNetError.SealedField(path, _, _, "Linear", "FactorizedLayer") -> path
                        | error -> error.Message)

                Expect.equal paths [ "b"; "c" ] "the fields"

            Expect.equal (stateOf narrow) before "as it was"))

let private roots =
    testCase "a model that is one layer is refused, and so are null and disposed" (fun () ->
        use layer = Layers.fresh None KernelAxes.Fused 1UL 1.0 (Format.CP 2) (torch.nn.Linear(4L, 6L)) |> ok

        inFolder (fun folder ->
            let path = Path.Combine(folder, "model")
            Expect.isError (ModelFile.save path layer) "a layer"
            Expect.throwsT<ArgumentNullException> (fun () -> ModelFile.save path Unchecked.defaultof<_> |> ignore) "null"
            Expect.throwsT<ArgumentNullException> (fun () -> ModelFile.load Unchecked.defaultof<_> layer |> ignore) "null"
            let gone = torch.nn.Sequential(struct ("a", (torch.nn.Linear(2L, 2L) :> Layer)))
            gone.Dispose()
            Expect.isError (ModelFile.save path gone) "disposed"
            Expect.isEmpty (Directory.GetFiles folder) "nothing is written"))

let private leaks =
    testCase "neither a load nor a refused one leaves tensors behind" (fun () ->
        inFolder (fun folder ->
            let path = Path.Combine(folder, "model")
            use model = compressed ()
            ModelFile.save path model |> ok
            let broken = edited path id (fun tensors -> ("more", torch.ones 1L) :: tensors)

            let attempt () =
                use _ = torch.NewDisposeScope()
                use fresh = new EveryKind()
                ModelFile.load broken fresh |> ignore
                ModelFile.load path fresh |> ok

            attempt ()
            let before = NativeTensors.settledCount ()

            for _ in 1..3 do
                attempt ()

            // TorchSharp counts each Parameter twice when it is made and once when it goes.
            let own = 21

            let made =
                Compress.factorized model |> List.sumBy (fun (_, layer) -> Seq.length (layer.parameters true))

            Expect.equal (NativeTensors.settledCount () - before) (int64 (3 * (own + 2 * made))) "parameters"))

let all =
    testSequenced (testList "model files" [ formats; roundTrip; refused; everyMisfit; everySealedField; ownField; roots; leaks ])
