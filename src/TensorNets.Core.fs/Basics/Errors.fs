namespace TensorNets

open System
open System.Collections.Generic

[<AutoOpen>]
module private ErrorText =
    let list (items: string list) = String.Join(", ", items)

    let shape (dims: int64 list) = "[" + String.Join(", ", dims |> List.map string) + "]"

    /// The most errors that a message says in words.
    let private mostLines = 100

    let lines (messages: string seq) (count: int) =
        let rest = if count > mostLines then [ $"And {count - mostLines} more." ] else []
        String.Join(Environment.NewLine, Seq.append (Seq.truncate mostLines messages) rest)

    let quoted (items: string list) = items |> List.map (fun item -> $"'{item}'") |> list

    let joined (items: string list) = items |> List.map (fun item -> $"'{item}'") |> String.concat " and "

/// <summary>Why a list of cores, dimensions and output axes is not a tensor network.</summary>
[<RequireQualifiedAccess>]
type SpecError =
    | NoCores
    | BadName of name: string
    | DuplicateCore of core: string
    | RepeatedAxis of core: string * axis: string
    | RepeatedOutputAxis of axis: string
    | MissingDimension of axis: string * usedBy: string
    | DuplicateDimension of axis: string
    | NonPositiveDimension of axis: string * found: int
    | UnusedDimension of axis: string
    | OutputAxisWithoutCore of axis: string
    | UnknownCore of core: string * known: string list
    | Syntax of position: int * found: string * expected: string
    | MalformedJson of line: int64 * position: int64 * reason: string
    | JsonVersion of found: string * expected: string
    | JsonType of path: string * found: string * expected: string
    | UnknownAxis of axis: string * known: string list
    | NameTaken of name: string
    | ListedTwice of axis: string
    | NothingToFuse of name: string
    | AxesApart of core: string * found: string list * expected: string list
    | NotAdjacent of output: string list * expected: string list
    | DimensionTooLarge of axis: string * found: bigint
    | WrongProduct of axis: string * factors: int list * expected: int
    | NotAPermutation of found: string list * expected: string list
    | SameCore of core: string
    | NotOrdinaryBond of axis: string * found: string
    | OpenAxesDiffer of found: string list * expected: string list
    | DimensionsDiffer of axis: string * found: int * expected: int

    /// The error in words: what was found and what was expected.
    member this.Message =
        match this with
        | NoCores -> "A network needs at least one core; none was given."
        | BadName name -> $"'{name}' is not a name for a core or an axis: expected a letter followed by letters, digits or underscores."
        | DuplicateCore core -> $"Core '{core}' is given more than once; core names must differ."
        | RepeatedAxis(core, axis) -> $"Core '{core}' carries axis '{axis}' more than once; an axis may occur once in a core."
        | RepeatedOutputAxis axis -> $"The output names axis '{axis}' more than once."
        | MissingDimension(axis, usedBy) -> $"Axis '{axis}' of {usedBy} has no dimension."
        | DuplicateDimension axis -> $"The dimension of axis '{axis}' is given more than once."
        | NonPositiveDimension(axis, found) -> $"Axis '{axis}' has dimension {found}; expected at least 1."
        | UnusedDimension axis -> $"Axis '{axis}' has a dimension but occurs in no core."
        | OutputAxisWithoutCore axis -> $"The output names axis '{axis}', which occurs in no core."
        | UnknownCore(core, known) -> $"There is no core '{core}'; the network has {quoted known}."
        | Syntax(position, found, expected) -> $"At position {position}: found {found}, expected {expected}."
        | MalformedJson(line, position, reason) -> $"Malformed JSON in line {line}, position {position}: {reason}"
        | JsonVersion(found, expected) -> $"The network is saved in version {found}; expected version {expected}."
        | JsonType(path, found, expected) -> $"In the saved network, {path} is {found}; expected {expected}."
        | UnknownAxis(axis, known) -> $"There is no axis '{axis}'; the network has {quoted known}."
        | NameTaken name -> $"The name '{name}' is taken; expected one that the network does not use yet."
        | ListedTwice axis -> $"Axis '{axis}' is listed more than once; expected once."
        | NothingToFuse name -> $"No axes are given to fuse into '{name}'; expected at least one."
        | AxesApart(core, found, expected) -> $"Core '{core}' carries only {quoted found}; expected all of {quoted expected}, or none."
        | NotAdjacent(output, expected) -> $"The output is {quoted output}; expected {quoted expected} side by side in it, or none of them."
        | DimensionTooLarge(axis, found) -> $"Axis '{axis}' would have dimension {found}; expected at most {Int32.MaxValue}."
        | WrongProduct(axis, factors, expected) ->
            $"Axis '{axis}' is split into {list (List.map string factors)}; expected factors whose product is {expected}."
        | NotAPermutation(found, expected) -> $"The new output is {quoted found}; expected each of {quoted expected} once."
        | SameCore core -> $"Both cores are '{core}'; expected two different cores."
        | NotOrdinaryBond(axis, found) -> $"Axis '{axis}' is {found}; expected an axis of two cores that is not open."
        | OpenAxesDiffer(found, expected) ->
            $"The second network has the open axes {quoted found}; expected those of the first, {quoted expected}."
        | DimensionsDiffer(axis, found, expected) ->
            $"Axis '{axis}' has dimension {found} in the second network; expected {expected}, as in the first."

/// <summary>Why a format does not fit a shape.</summary>
[<RequireQualifiedAccess>]
type FormatError =
    | WrongOrder of format: string * found: int * expected: string
    | WrongRankCount of format: string * found: int * expected: int
    | RankOutOfRange of format: string * rank: string * found: int * largest: int * bound: string
    | NonPositiveMode of mode: int * found: int
    | BadTree of found: int list * modes: int
    | NarrowTree
    | UnequalSplits of rows: int * columns: int
    | WrongSplit of what: string * factors: int list * expected: int

    /// The error in words: what was found and what was expected.
    member this.Message =
        match this with
        | WrongOrder(format, found, expected) -> $"{format} needs a tensor of {expected} modes; found {found}."
        | WrongRankCount(format, found, expected) -> $"{format} needs {expected} ranks for this tensor; found {found}."
        | RankOutOfRange(format, rank, found, Int32.MaxValue, _) -> $"{format}: {rank} is {found}; expected at least 1."
        | RankOutOfRange(format, rank, found, largest, bound) -> $"{format}: {rank} is {found}; expected 1 to {largest} ({bound})."
        | BadTree(found, modes) ->
            $"The dimension tree names the modes {list (List.map string found)}; expected each of 0 to {modes - 1} once."
        | NarrowTree -> "The dimension tree has a node of fewer than two children; expected at least two."
        | UnequalSplits(rows, columns) ->
            $"The rows are split into {rows} factors and the columns into {columns}; expected the same number, at least one."
        | WrongSplit(what, factors, expected) ->
            $"The {what} are split into {list (List.map string factors)}; expected factors whose product is {expected}."
        | NonPositiveMode(mode, found) -> $"Mode {mode} of the tensor has dimension {found}; expected at least 1."

/// <summary>Everything that can be wrong with what a caller hands in, naming what was found and what was expected.</summary>
[<RequireQualifiedAccess>]
type TensorNetError =
    | Spec of SpecError
    | Format of FormatError
    | MissingCore of core: string
    | UnknownCore of core: string * known: string list
    | CoreShape of core: string * found: int64 list * expected: int64 list
    | CoreDType of core: string * found: string * expected: string
    | CoreDevice of core: string * found: string * expected: string
    | DType of what: string * found: string * expected: string
    | Unreadable of what: string * found: string
    | Disposed of what: string
    | Shape of what: string * found: int64 list * expected: string
    | NotFinite of what: string * count: int64
    | ZeroTensor of what: string
    /// A number that its dtype cannot hold, by the logarithm of its size to the base ten.
    | OutOfRange of what: string * log10: float * dtype: string
    | NotCovariance of found: string
    | ErrorBound of found: string * expected: string
    | Unreachable of bound: float * reached: float
    | Cancelled of bound: float * reached: float
    | RankDeficientBond of bond: string * rank: int * dimension: int
    | SingularMatrix of what: string * rank: int * dimension: int
    | Unsupported of option: string * found: string * supported: string
    | PathNotFound of path: string * nearest: string list
    | ModuleType of path: string * found: string * expected: string
    | Compressed of paths: string list * kind: string
    | SealedField of path: string * owner: string * field: string * declared: string * replacement: string
    | UnreachableField of path: string * owner: string * reason: string
    | MissingKey of key: string
    | UnknownKey of key: string * nearest: string list
    | KeyShape of key: string * found: int64 list * expected: int64 list
    | BadFile of path: string * reason: string
    | UnwrittenFile of path: string * reason: string

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

/// <summary>The one exception of this library: <c>Errors</c> lists every error found, the message the first hundred.</summary>
type TensorNetException(errors: IReadOnlyList<TensorNetError>) =
    inherit Exception(ErrorText.lines (errors |> Seq.map _.Message) errors.Count)

    /// Every error found, in the order in which it was found.
    member _.Errors = errors

[<RequireQualifiedAccess>]
module TensorNetError =
    /// The error in words.
    let message (error: TensorNetError) = error.Message

    /// A list of numbers as messages show it: [1, 2, 3].
    let internal shapeText (numbers: int64 list) = shape numbers

    /// The value of a result, or a TensorNetException that lists every error. For C# and for constructors, which cannot return a result.
    let raiseErrors (result: Result<'T, TensorNetError list>) : 'T =
        match result with
        | Ok value -> value
        | Error errors -> raise (TensorNetException(List.toArray errors))

    /// Throws a TensorNetException if there are errors.
    let internal raiseAny (errors: TensorNetError list) : unit =
        if not errors.IsEmpty then
            raise (TensorNetException(List.toArray errors))
