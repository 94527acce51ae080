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
    /// The list of cores is empty; give at least one.
    | NoCores
    /// A core or an axis has what is no name; give it a letter followed by letters, digits or underscores.
    | BadName of name: string
    /// Two cores have the same name; rename one.
    | DuplicateCore of core: string
    /// A core carries an axis twice; give one of the two places an axis of its own.
    | RepeatedAxis of core: string * axis: string
    /// The output names an axis twice; name it once.
    | RepeatedOutputAxis of axis: string
    /// An axis that a core carries has no dimension; add it to the dimensions or to the text.
    | MissingDimension of axis: string * usedBy: string
    /// The dimension of an axis is given twice; give it once, as an argument or in the text.
    | DuplicateDimension of axis: string
    /// A dimension is zero or negative; give 1 or more.
    | NonPositiveDimension of axis: string * found: int
    /// A dimension is given for an axis that no core carries; leave it out, or correct its name.
    | UnusedDimension of axis: string
    /// The output names an axis that no core carries; leave it out, or add it to a core.
    | OutputAxisWithoutCore of axis: string
    /// <summary>No core has the name asked for; use one of <c>known</c>.</summary>
    | UnknownCore of core: string * known: string list
    /// <summary>The text of a network breaks its grammar; mend it at <c>position</c>, which counts characters from 1.</summary>
    | Syntax of position: int * found: string * expected: string
    /// <summary>The text is no JSON; mend it at <c>line</c> and <c>position</c> (in bytes), which both count from 1.</summary>
    | MalformedJson of line: int64 * position: int64 * reason: string
    /// The JSON was written in another version; read it by a library of that version, or write it anew.
    | JsonVersion of found: string * expected: string
    /// <summary>A value of the JSON at <c>path</c> has the wrong type, is missing or stands twice; put <c>expected</c> there.</summary>
    | JsonType of path: string * found: string * expected: string
    /// <summary>The network has no axis of that name; use one of <c>known</c>.</summary>
    | UnknownAxis of axis: string * known: string list
    /// A new core or axis would bear a name that is in use; choose another.
    | NameTaken of name: string
    /// An axis stands twice in a list of axes; list it once.
    | ListedTwice of axis: string
    /// The list of axes to fuse is empty; give at least one.
    | NothingToFuse of name: string
    /// A core carries only some of the axes to fuse; fuse axes that always occur together.
    | AxesApart of core: string * found: string list * expected: string list
    /// <summary>The axes to fuse are apart in the output, or in another order; bring them side by side by <c>permute</c> first.</summary>
    | NotAdjacent of output: string list * expected: string list
    /// The product of the dimensions to fuse exceeds the largest int, 2³¹ − 1; fuse fewer axes.
    | DimensionTooLarge of axis: string * found: bigint
    /// <summary>The product of the parts that an axis is split into is not its dimension; give factors of <c>expected</c>.</summary>
    | WrongProduct of axis: string * factors: int list * expected: int
    /// <summary>The new output does not name each open axis once; give a permutation of <c>expected</c>.</summary>
    | NotAPermutation of found: string list * expected: string list
    /// The two cores to merge are one; name two.
    | SameCore of core: string
    /// <summary>A gauge goes on an axis of exactly two cores that is not open, and this axis is <c>found</c>; choose another.</summary>
    | NotOrdinaryBond of axis: string * found: string
    /// Two networks of an inner product have different open axes; rename those of one.
    | OpenAxesDiffer of found: string list * expected: string list
    /// Two networks of an inner product differ in the dimension of an open axis; make them equal.
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
    /// The format does not exist for tensors of that number of modes; choose another, or reshape the tensor.
    | WrongOrder of format: string * found: int * expected: string
    /// <summary>The list of ranks has the wrong length for the tensor; give <c>expected</c> ranks.</summary>
    | WrongRankCount of format: string * found: int * expected: int
    /// <summary>A rank is below 1 or above what any tensor of that shape needs; give 1 to <c>largest</c>.</summary>
    | RankOutOfRange of format: string * rank: string * found: int * largest: int * bound: string
    /// A mode of the tensor, counted from 0, has dimension zero or less; give 1 or more.
    | NonPositiveMode of mode: int * found: int
    /// <summary>The leaves of a dimension tree are not the modes 0 … <c>modes</c> − 1, each once; give those.</summary>
    | BadTree of found: int list * modes: int
    /// A node of a dimension tree has fewer than two children; give two or more, or put its child in its place.
    | NarrowTree
    /// A TT-matrix has more factors of rows than of columns, or fewer, or none; give as many of both, with 1 where one lacks.
    | UnequalSplits of rows: int * columns: int
    /// <summary>The factors of the rows or columns of a TT-matrix have another product; give factors of <c>expected</c>.</summary>
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
    /// <summary>libtorch's float32 convolutions are wrong on this processor, by a relative error or NaN; set ONEDNN_MAX_CPU_ISA=AVX2 before
    /// it is loaded, as <c>Native.guard</c> does.</summary>
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
            + "set ONEDNN_MAX_CPU_ISA=AVX2 before the program starts, or call Native.guard before anything of torch."
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
