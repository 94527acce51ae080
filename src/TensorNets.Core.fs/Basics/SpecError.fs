namespace TensorNets

open System
open TensorNets.ErrorText

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
    /// The cores have more entries together than a long counts, 2⁶³ − 1; give smaller dimensions.
    | CoresTooLarge of found: bigint
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
        | JsonType(path, found, expected) -> $"In the JSON, {path} is {found}; expected {expected}."
        | UnknownAxis(axis, known) -> $"There is no axis '{axis}'; the network has {quoted known}."
        | NameTaken name -> $"The name '{name}' is taken; expected one that the network does not use yet."
        | ListedTwice axis -> $"Axis '{axis}' is listed more than once; expected once."
        | NothingToFuse name -> $"No axes are given to fuse into '{name}'; expected at least one."
        | AxesApart(core, found, expected) -> $"Core '{core}' carries only {quoted found}; expected all of {quoted expected}, or none."
        | NotAdjacent(output, expected) -> $"The output is {quoted output}; expected {quoted expected} side by side in it, or none of them."
        | DimensionTooLarge(axis, found) -> $"Axis '{axis}' would have dimension {found}; expected at most {Int32.MaxValue}."
        | CoresTooLarge found -> $"The cores have {found} entries together; expected at most {Int64.MaxValue}."
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
