/// A public function of the library called with what a seed draws, and what came of it.
module HostileCalls

// Reflection does not say what may be null.
#nowarn "3261"

open System
open System.Collections
open System.Reflection
open System.Runtime.CompilerServices
open FSharp.Reflection
open TorchSharp
open TensorNets
open HostileSpecs
open HostileValues
open HostileArguments
open HostileEntries

/// What a result holds: tensors, networks and modules to dispose, errors to read.
let rec private held (value: obj | null) : obj list =
    match value with
    | null -> []
    | :? string -> []
    | :? Tensor
    | :? IDisposable
    | :? TensorNetError
    | :? SpecError
    | :? FormatError -> [ value ]
    | :? ITuple as tuple -> [ 0 .. tuple.Length - 1 ] |> List.collect (fun i -> held tuple[i])
    | :? IDictionary as table -> table.Values |> Seq.cast<obj> |> List.ofSeq |> List.collect held
    | :? IEnumerable as items -> items |> Seq.cast<obj> |> List.ofSeq |> List.collect held
    | value when FSharpType.IsUnion(value.GetType()) && value.GetType().Assembly = typeof<_ list>.Assembly ->
        FSharpValue.GetUnionFields(value, value.GetType()) |> snd |> List.ofArray |> List.collect held
    | value when FSharpType.IsRecord(value.GetType()) ->
        string value |> ignore
        FSharpValue.GetRecordFields value |> List.ofArray |> List.collect held
    | _ -> []

let private isFinite (tensor: Tensor) =
    use _ = torch.NewDisposeScope()

    tensor.numel () = 0L
    || not (tensor.is_floating_point ())
    || tensor.isfinite().all().ToBoolean()
    // The logarithm of the norm of a network that is zero.
    || tensor.dim () = 0L && tensor.isneginf().ToBoolean()

/// What is wrong with a value that was returned, or nothing.
let private wrong (d: Draw) (value: obj) : string option =
    match value with
    | :? Fit as fit ->
        string fit |> ignore

        // What is cancelled before the first sweep is the start as it was given, which may be hundreds of orders from the target.
        if not d.Finite || (fit.Stop = Stop.Cancelled && fit.Sweeps = 0) then
            None
        elif Double.IsNaN fit.Error || Double.IsNaN fit.Sensitivity then
            Some $"no number in {fit}"
        elif fit.Network.Cores |> Seq.exists (isFinite >> not) then
            Some $"cores that are not finite in {fit}"
        else
            None
    | :? Network as network when d.Finite && d.Moderate && network.Cores |> Seq.exists (isFinite >> not) -> Some "cores that are not finite"
    | :? Tensor as tensor when d.Finite && d.Moderate && not tensor.IsInvalid && not (isFinite tensor) -> Some "entries that are not finite"
    | :? TensorNetError as error when String.IsNullOrWhiteSpace error.Message -> Some "an error without words"
    | :? SpecError as error when String.IsNullOrWhiteSpace error.Message -> Some "an error without words"
    | :? FormatError as error when String.IsNullOrWhiteSpace error.Message -> Some "an error without words"
    | _ -> None

let private ours = [ typeof<Spec>.Assembly; typeof<CSharp.FitOptions>.Assembly ]

/// Whether an exception is one that the library may throw: its own; a caller's, from a callback; one about an argument, thrown by the
/// library itself or naming a parameter of the function called.
let private isTyped (method: MethodInfo) (error: exn) =
    match error with
    | :? TensorNetException
    | :? ArgumentNullException
    | Thrown -> true
    | :? ArgumentException as error ->
        let frames =
            [
                for frame in Diagnostics.StackTrace(error).GetFrames() do
                    match frame.GetMethod() with
                    | null -> ()
                    | m -> m
            ]

        let isOurs (m: MethodBase) = List.contains m.Module.Assembly ours
        let names (m: MethodBase) = [ for p in m.GetParameters() -> p.Name ]
        let own = frames |> List.tryFind isOurs |> Option.map names |> Option.defaultValue []
        (not frames.IsEmpty && isOurs frames.Head) || List.contains error.ParamName (own @ names method)
    | _ -> false

/// What surrounds a call: recording of gradients, inference, torch's default dtype.
let private surroundings (d: Draw) : IDisposable =
    let mode: IDisposable =
        match d.Below 5 with
        | 0 -> torch.no_grad ()
        | 1 -> torch.inference_mode ()
        | _ ->
            { new IDisposable with
                member _.Dispose() = ()
            }

    let before = torch.get_default_dtype ()

    if d.Chance 0.2 then
        torch.set_default_dtype (d.Pick [ torch.float64; torch.bfloat16 ])

    { new IDisposable with
        member _.Dispose() =
            torch.set_default_dtype before
            mode.Dispose()
    }

let rec private show (value: obj | null) : string =
    match value with
    | null -> "null"
    | :? Tensor as t when t.IsInvalid -> "disposed tensor"
    | :? Tensor as t ->
        let views = if t.is_contiguous () then "" else " view"
        let gradient = if t.requires_grad then " with gradient" else ""
        $"{t.dtype} tensor {t.device_type} [%s{String.Join(',', t.shape)}]{views}{gradient}"
    | :? Network as n ->
        let dtype =
            try
                string n.DType
            with _ ->
                "disposed"

        $"{dtype} network {Spec.print n.Spec}"
    | :? Spec as spec -> Spec.print spec
    | :? string as text -> $"\"{text[..200]}\""
    | :? FactorizedLayer as layer -> $"{layer.GetName()} {Spec.print layer.Spec}, {layer.Lowering}"
    | :? torch.nn.Module as m -> m.GetType().Name
    | :? IEnumerable as items -> $"""[%s{String.Join("; ", [ for item in items -> show item ])}]"""
    | value ->
        try
            (string value).Replace("\n", " ")
        with _ ->
            $"a {value.GetType().Name} of something disposed"

/// The arguments of a call, and the object whose member it is.
let private drawn (d: Draw) (method: MethodInfo) : obj * obj[] =
    let arguments =
        [| for p in method.GetParameters() -> make d (owner method) (nonNull p.Name) p.ParameterType |]

    (if method.IsStatic then null else make d (owner method) "this" method.DeclaringType), arguments

let private described (method: MethodInfo) (self: obj) (arguments: obj[]) =
    let values = if method.IsStatic then arguments else Array.append [| self |] arguments
    String.Join(", ", Array.map show values)

/// The arguments of a call in words.
let words (entry: Entry) (seed: int) : string =
    let d = Draw seed
    let method = closed entry.Method
    let self, arguments = drawn d method
    let text = described method self arguments
    d.Dispose()
    text

/// The tensors that a draw of a seed itself leaves to the garbage collector: TorchSharp's layers leave some when they are made.
let private leftByDraw (method: MethodInfo) (seed: int) : int64 =
    let before = NativeTensors.settledCount ()
    let d = Draw seed
    drawn d method |> ignore
    d.Dispose()
    Tensor.TotalCount - before

/// Each parameter of a module leaves the shell of the tensor that it was made of.
let private shells (parts: obj list) : int64 =
    parts
    |> List.sumBy (function
        | :? torch.nn.Module as m -> m.parameters () |> Seq.length |> int64
        | _ -> 0L)

/// What is wrong with what a call returned; disposes that, unless it is part of the object asked.
let private judged (d: Draw) (method: MethodInfo) (parts: obj list) : string list =
    let problems = parts |> List.choose (wrong d)

    if not (method.Name.StartsWith "get_") then
        for part in parts do
            match part with
            | :? IDisposable as disposable -> disposable.Dispose()
            | _ -> ()

    problems

let rec private root (error: exn) =
    match error with
    | :? TargetInvocationException as error -> root (nonNull error.InnerException)
    | error -> error

let private traced (error: exn) =
    let lines =
        (string error.StackTrace).Split '\n' |> Array.filter _.Contains("TensorNets") |> Array.truncate 8

    String.concat "" [ for line in lines -> "\n      " + line.Trim() ]

/// Whether null is a value of a type: none of an option, nothing of unit.
let private isNullable (t: Type) =
    not t.IsValueType
    && t <> typeof<unit>
    && not (t.IsGenericType && t.GetGenericTypeDefinition() = typedefof<_ option>)

/// Calls of a function with null in the place of each argument in turn, which no type of F# says may be null: what is neither a value nor
/// a typed error.
let nulls (entry: Entry) (seed: int) : string list =
    let method = closed entry.Method

    [
        for i, p in Seq.indexed (method.GetParameters()) do
            if isNullable p.ParameterType then
                let d = Draw seed

                try
                    let self, arguments = drawn d method
                    arguments[i] <- null

                    try
                        for part in held (method.Invoke(self, arguments)) do
                            match part with
                            | :? IDisposable as disposable when not (method.Name.StartsWith "get_") -> disposable.Dispose()
                            | _ -> ()
                    with error ->
                        let error = root error

                        if not (isTyped method error) then
                            $"{entry.Name} with null for '{p.Name}': {error.GetType().Name}: {error.Message.Split('\n')[0]}{traced error}"
                finally
                    d.Dispose()
    ]

/// What came of a call: what went wrong, how many tensors it left, its arguments in words, whether it was refused.
type private Outcome = { Problems: string list; Leak: int64; Arguments: string; Refused: bool }

let private attempt (method: MethodInfo) (seed: int) : Outcome =
    let d = Draw seed
    let before = Tensor.TotalCount
    let self, arguments = drawn d method
    let described = described method self arguments

    let alive =
        [
            for item in d.Owned do
                match item with
                | :? Tensor as tensor when not tensor.IsInvalid -> tensor
                | _ -> ()
        ]

    let made = Tensor.TotalCount
    let mutable shells' = 0L
    let mutable refused = false

    let problems =
        use _ = surroundings d

        try
            let parts = held (method.Invoke(self, arguments))
            let disposed = alive |> List.exists _.IsInvalid
            shells' <- shells parts

            refused <-
                parts
                |> List.exists (fun part -> part :? TensorNetError || part :? SpecError || part :? FormatError)

            judged d method parts @ (if disposed then [ "an argument was disposed" ] else [])
        with error ->
            let error = root error

            if isTyped method error then
                string error.Message |> ignore
                refused <- true
                []
            else
                [ $"{error.GetType().Name}: {error.Message.Split('\n')[0]}{traced error}\n     " ]

    let kept = Tensor.TotalCount - made
    d.Dispose()
    let left = Tensor.TotalCount - before

    let leak = if kept > 0L && left > 0L then left - shells' - leftByDraw method seed else 0L

    { Problems = problems; Leak = leak; Arguments = described; Refused = refused }

/// One call by a seed: whether it was accepted; nothing where all went well, else what went wrong, with the arguments.
let call (entry: Entry) (seed: int) : bool * string list =
    let method = closed entry.Method
    let outcome = attempt method seed

    // Finalizers of earlier calls' tensors spoil the count: it holds where it comes again once they are done.
    let leak =
        if outcome.Leak > 0L then
            NativeTensors.settledCount () |> ignore
            min outcome.Leak (attempt method seed).Leak
        else
            0L

    let problems = outcome.Problems @ (if leak > 0L then [ $"{leak} tensors are left" ] else [])

    not outcome.Refused, problems |> List.map (fun problem -> $"{problem} from {outcome.Arguments}")
