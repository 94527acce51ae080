namespace TensorNets

open System
open System.Collections.Generic
open TensorNets.ErrorText

/// <summary>Everything that can be wrong with what a caller hands in, naming what was found and what was expected.</summary>
[<RequireQualifiedAccess>]
type TensorNetError =
    /// A network without numbers is at fault; see the inner error.
    | Spec of SpecError
    /// A format does not fit the shape; see the inner error.
    | Format of FormatError
    /// A core of the spec has no tensor; give one under its name.
    | MissingCore of core: string
    /// <summary>A tensor is given for a core that the spec has not; use one of <c>known</c>.</summary>
    | UnknownCore of core: string * known: string list
    /// <summary>A core's tensor has another shape than its axes say; reshape or permute it to <c>expected</c>.</summary>
    | CoreShape of core: string * found: int64 list * expected: int64 list
    /// <summary>A core's tensor has another dtype than the network's; convert it to <c>expected</c>.</summary>
    | CoreDType of core: string * found: string * expected: string
    /// <summary>A core's tensor is on another device than the network's; move it to <c>expected</c>.</summary>
    | CoreDevice of core: string * found: string * expected: string
    /// <summary>A tensor has a dtype that is not computed with here; convert it to <c>expected</c>.</summary>
    | DType of what: string * found: string * expected: string
    /// A tensor is sparse, quantised, or without numbers (device meta); make it dense.
    | Unreadable of what: string * found: string
    /// A tensor or a module has been disposed; keep it alive until the call returns.
    | Disposed of what: string
    /// <summary>A tensor has another shape than the call needs; give it the shape that <c>expected</c> describes.</summary>
    | Shape of what: string * found: int64 list * expected: string
    /// <summary><c>count</c> entries of a tensor are NaN or infinite; clean what made them.</summary>
    | NotFinite of what: string * count: int64
    /// A tensor that is zero everywhere has no relative error and no direction; give one that is not.
    | ZeroTensor of what: string
    /// A result exceeds what its dtype can hold, as log₁₀ of its size; scale the target, or use float64.
    | OutOfRange of what: string * log10: float * dtype: string
    /// A tensor would have more entries than the memory of this machine holds; give smaller dimensions, or ranks.
    | TooLarge of what: string * entries: float * most: float
    /// <summary>The matrix of a norm is not symmetric positive semidefinite; <c>Calibration.covariance</c> makes one that is.</summary>
    | NotCovariance of found: string
    /// A bound on the error is NaN, negative, or not below the norm of the target; give one in the range that is expected.
    | ErrorBound of found: string * expected: string
    /// No network of these ranks was found within the bound; raise ranks, bound, sweeps or starts. Both numbers are ‖K − T‖.
    | Unreachable of bound: float * reached: float
    /// The caller cancelled before the bound was met; let it run longer, or loosen the bound. Both numbers are ‖K − T‖.
    | Cancelled of bound: float * reached: float
    /// <summary>A bond has a lower numerical rank than its dimension, so that it has no gauge; use <c>Gauge.truncate</c> first.</summary>
    | RankDeficientBond of bond: string * rank: int * dimension: int
    /// <summary>A matrix that must be inverted has numerical rank <c>rank</c> below <c>dimension</c>; give one of full rank.</summary>
    | SingularMatrix of what: string * rank: int * dimension: int
    /// An option has a value outside its range; give one that is supported.
    | Unsupported of option: string * found: string * supported: string
    /// <summary>The model has no submodule at that path; use one of <c>nearest</c> or of <c>Surgery.paths</c>.</summary>
    | PathNotFound of path: string * nearest: string list
    /// A module is of another kind than the call can work on; give the kind that is expected.
    | ModuleType of path: string * found: string * expected: string
    /// <summary>The layer is factorized already, at each of <c>paths</c>; leave it, or compress its dense layer anew.</summary>
    | Compressed of paths: string list * kind: string
    /// <summary>The field that holds a submodule is of too narrow a type; declare it as <c>Module&lt;Tensor, Tensor&gt;</c>.</summary>
    | SealedField of path: string * owner: string * field: string * declared: string * replacement: string
    /// No field or list that can be written holds the submodule, for the reason given; change the owner's class.
    | UnreachableField of path: string * owner: string * reason: string
    /// The state lacks a tensor that the module has; save it from a module of the same kind.
    | MissingKey of key: string
    /// The state has a tensor that the module has not; rename its key or leave it out.
    | UnknownKey of key: string * nearest: string list
    /// A tensor of the state has another shape than the module's; make the module with the ranks of the state.
    | KeyShape of key: string * found: int64 list * expected: int64 list
    /// A file is missing, broken or of another kind, for the reason given; check the path, or write the file anew.
    | BadFile of path: string * reason: string
    /// A file cannot be written, for the reason given; check the folder, its rights and the disk.
    | UnwrittenFile of path: string * reason: string
    /// <summary>A native library under torch is missing or does not fit the system; do what <c>remedy</c> says.</summary>
    | NativeLibrary of found: string * remedy: string
    /// <summary>libtorch's float32 convolutions are wrong on this processor, by a relative error or NaN; call <c>Native.guard</c>, or set
    /// ONEDNN_MAX_CPU_ISA=SSE41 before libtorch is loaded.</summary>
    | WrongConvolutions of relativeError: float
    /// A call has no effect any more, for the reason given; make it the first of the program.
    | TooLate of call: string * reason: string

    /// The error in words: what was found and what was expected.
    member this.Message =
        match this with
        | Spec error -> error.Message
        | Format error -> error.Message
        | MissingCore core -> $"No tensor is given for core '{core}'."
        | UnknownCore(core, known) -> $"There is no core '{core}'; the network has {quoted known}."
        | CoreShape(core, found, expected) -> $"Core '{core}' has shape {shape found}; expected {shape expected}."
        | CoreDType(core, found, expected) -> $"Core '{core}' has dtype {found}; expected {expected}."
        | CoreDevice(core, found, expected) -> $"Core '{core}' is on device {found}; expected {expected}."
        | DType(what, found, expected) -> $"{what} has dtype {found}; expected {expected}."
        | Unreadable(what, found) -> $"{what} is {found}; expected a dense tensor whose numbers can be read."
        | Disposed what -> $"{what} has been disposed; expected one that has not."
        | Shape(what, found, expected) -> $"{what} has shape {shape found}; expected {expected}."
        | NotFinite(what, count) -> $"{what} has {count} entries that are NaN or infinite; expected finite numbers."
        | ZeroTensor what -> $"{what} is zero everywhere; expected at least one entry that is not."
        | OutOfRange(what, log10, dtype) -> $"{what} is about 10^{log10:F1}, outside the range of {dtype}."
        | TooLarge(what, entries, most) -> $"{what} would have {entries:G3} entries; the memory of this machine holds {most:G3}."
        | NotCovariance found -> $"The covariance has {found}; expected a symmetric positive semidefinite matrix."
        | ErrorBound(found, expected) -> $"The error bound is {found}; expected {expected}."
        | Unreachable(bound, reached) ->
            $"The error bound {bound:G6} cannot be met at these ranks from this start; the smallest error reached is {reached:G6}."
        | Cancelled(bound, reached) -> $"Cancelled before the error bound {bound:G6} was met; the smallest error reached is {reached:G6}."
        | RankDeficientBond(bond, rank, dimension) ->
            $"Bond '{bond}' has dimension {dimension} but numerical rank {rank}; expected full rank (truncate it first)."
        | SingularMatrix(what, rank, dimension) -> $"{what} has numerical rank {rank}; expected {dimension}, so that it has an inverse."
        | Unsupported(option, found, supported) -> $"{option} = {found} is not supported; supported: {supported}."
        | PathNotFound(path, nearest) ->
            let near = if nearest.IsEmpty then "the module has no submodules" else $"nearest: {quoted nearest}"
            $"There is no submodule '{path}'; {near}."
        | ModuleType("", found, expected) -> $"The module is a {found}; expected {expected}."
        | ModuleType(path, found, expected) -> $"The module at '{path}' is a {found}; expected {expected}."
        | Compressed(paths, kind) -> $"The layer at {joined paths} is compressed already: it is a {kind}."
        | SealedField(path, owner, field, declared, replacement) ->
            $"'{path}' is held by field '{field}' of {owner}, declared as {declared}, which cannot hold a {replacement}; "
            + $"declare the field as Module<Tensor, Tensor>."
        | UnreachableField(path, owner, reason) -> $"'{path}' of {owner} cannot be replaced: {reason}."
        | MissingKey key -> $"The state has no '{key}'."
        | UnknownKey(key, []) -> $"The state has '{key}', which the module has not."
        | UnknownKey(key, nearest) -> $"The state has '{key}', which the module has not; nearest: {quoted nearest}."
        | KeyShape(key, found, expected) -> $"'{key}' of the state has shape {shape found}; expected {shape expected}."
        | BadFile(path, reason) -> $"'{path}' cannot be read: {reason}."
        | UnwrittenFile(path, reason) -> $"'{path}' cannot be written: {reason}."
        | NativeLibrary(found, remedy) -> found + Environment.NewLine + remedy
        | WrongConvolutions error ->
            $"libtorch's float32 convolutions are wrong on this processor where channels fill no block of 16 (relative error {error:G2}); "
            + "call Native.guard, or set ONEDNN_MAX_CPU_ISA=SSE41 before the program starts."
        | TooLate(call, reason) ->
            $"{call} comes too late: {reason}; call it before anything else, or set the environment variable outside."

/// <summary>The one exception of this library: <c>Errors</c> lists every error found, the message the first hundred.</summary>
type TensorNetException
    /// An exception of at least one error.
    (errors: IReadOnlyList<TensorNetError>) =
    inherit Exception(ErrorText.lines (errors |> Seq.map _.Message) errors.Count)

    /// Every error found, in the order in which it was found.
    member _.Errors = errors

/// <summary>From results to values or exceptions.</summary>
[<RequireQualifiedAccess>]
module TensorNetError =
    /// A list of numbers as messages show it: [1, 2, 3].
    let internal shapeText (numbers: int64 list) = shape numbers

    /// <summary>The value of a result, or a TensorNetException that lists every error. For C# and for constructors, which cannot return a
    /// result.</summary>
    /// <example><code>TensorNetError.raiseErrors (Network.copy network |> Ok)</code></example>
    let raiseErrors (result: Result<'T, TensorNetError list>) : 'T =
        match result with
        | Ok value -> value
        | Error errors -> raise (TensorNetException(List.toArray errors))

    /// Throws a TensorNetException if there are errors.
    let internal raiseAny (errors: TensorNetError list) : unit =
        if not errors.IsEmpty then
            raise (TensorNetException(List.toArray errors))

    /// The values of several results, or the errors of all.
    let internal collect (results: Result<'T, 'E list> list) : Result<'T list, 'E list> =
        match
            results
            |> List.collect (function
                | Error errors -> errors
                | Ok _ -> [])
        with
        | [] -> Ok(results |> List.choose Result.toOption)
        | errors -> Error errors
