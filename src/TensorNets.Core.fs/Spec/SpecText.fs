namespace TensorNets

open System
open System.Globalization

/// The text form of a network as lists of names and back; `Spec.parse` documents the grammar and says what the lists must satisfy.
[<RequireQualifiedAccess>]
module internal SpecText =
    /// What a text says. A part in which something is wrong gives no axes, so that it causes no further error.
    type Parsed =
        {
            Cores: (string option * Axis list) list
            Output: Axis list
            Dims: (Axis * int) list
            Errors: SpecError list
        }

    type private Token = { Position: int; Text: string; IsWord: bool }

    let private inWord c = Char.IsLetterOrDigit c || c = '_'

    let private tokens (text: string) : Token list =
        let found = Collections.Generic.List<Token>()
        let next at = if at + 1 < text.Length then text[at + 1] else ' '

        let rec wordEnd at = if at < text.Length && inWord text[at] then wordEnd (at + 1) else at

        let mutable at = 0

        while at < text.Length do
            let start, c = at, text[at]
            let isWord = inWord c || (c = '-' && Char.IsDigit(next at))
            at <- if isWord then wordEnd (at + 1) else at + (if c = '-' && next at = '>' then 2 else 1)

            if not (Char.IsWhiteSpace c) then
                found.Add { Position = start + 1; Text = text[start .. at - 1]; IsWord = isWord }

        List.ofSeq found

    /// The end is a token without text.
    let private shown (token: Token) = if token.Text = "" then "the end of the text" else $"'{token.Text}'"

    let private unexpected (token: Token) expected = SpecError.Syntax(token.Position, shown token, expected)

    /// A part of the text: its tokens and the token that ends it.
    type private Part = { Tokens: Token list; Finish: Token }

    /// What stands before the first such symbol, and what stands after it, if there is one.
    let private cut (symbol: string) (part: Part) : Part * Part option =
        match part.Tokens |> List.tryFindIndex (fun token -> token.Text = symbol) with
        | None -> part, None
        | Some i -> { Tokens = List.take i part.Tokens; Finish = part.Tokens[i] }, Some { part with Tokens = List.skip (i + 1) part.Tokens }

    let rec private splitAll (symbol: string) (part: Part) : Part list =
        match cut symbol part with
        | first, None -> [ first ]
        | first, Some rest -> first :: splitAll symbol rest

    /// `a1bc` as a1, b, c.
    let private letters (word: Token) : Axis list * SpecError list =
        if Char.IsLetter word.Text[0] then
            let starts = [ 0 .. word.Text.Length - 1 ] |> List.filter (fun i -> Char.IsLetter word.Text[i])

            let ends = List.tail starts @ [ word.Text.Length ]
            List.map2 (fun first last -> Axis word.Text[first .. last - 1]) starts ends, []
        else
            [], [ unexpected word "an axis, which begins with a letter" ]

    let private axesOf (part: Part) : Axis list * SpecError list =
        let rec read inside tokens =
            match tokens with
            | [] -> [], (if inside then [ unexpected part.Finish "')'" ] else [])
            | token :: rest when token.IsWord ->
                let axes, errors = read inside rest

                if Axis.isName token.Text then
                    Axis token.Text :: axes, errors
                else
                    axes, unexpected token "an axis, which begins with a letter" :: errors
            | token :: rest when token.Text = "(" && not inside -> read true rest
            | token :: rest when token.Text = ")" && inside -> read false rest
            | token :: rest ->
                let axes, errors = read inside rest
                axes, unexpected token (if inside then "an axis or ')'" else $"an axis or {shown part.Finish}") :: errors

        match part.Tokens with
        | [ word ] when word.IsWord -> letters word
        | tokens -> read false tokens

    /// No axes where there is an error.
    let private sound (axes: Axis list, errors: SpecError list) = (if errors.IsEmpty then axes else []), errors

    let private coreOf (part: Part) : (string option * Axis list) * SpecError list =
        match part.Tokens with
        | name :: colon :: rest when name.IsWord && colon.Text = ":" ->
            let axes, errors = sound (axesOf { part with Tokens = rest })

            if Axis.isName name.Text then
                (Some name.Text, axes), errors
            else
                (None, axes), unexpected name "the name of a core, which begins with a letter" :: errors
        | _ ->
            let axes, errors = sound (axesOf part)
            (None, axes), errors

    let rec private dimsOf (part: Part) : (Axis * int) list * SpecError list =
        // After an error reading goes on at the next name that an equals sign follows.
        let rec resume tokens =
            match tokens with
            | name :: equals :: _ when name.IsWord && equals.Text = "=" -> tokens
            | _ :: rest -> resume rest
            | [] -> []

        let after error tokens =
            let dims, errors = dimsOf { part with Tokens = resume tokens }
            dims, error :: errors

        match part.Tokens with
        | [] -> [], []
        | comma :: rest when comma.Text = "," -> dimsOf { part with Tokens = rest }
        | name :: rest when not (Axis.isName name.Text) -> after (unexpected name "the name of an axis") rest
        | name :: equals :: number :: rest when equals.Text = "=" ->
            match Int32.TryParse(number.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) with
            | true, dim ->
                let dims, errors = dimsOf { part with Tokens = rest }
                (Axis name.Text, dim) :: dims, errors
            | _ ->
                // What stands for the number is passed over, unless it is the next name.
                let isName = not rest.IsEmpty && rest.Head.Text = "="
                let dims, errors = dimsOf { part with Tokens = (if isName then number :: rest else rest) }
                dims, unexpected number $"a whole number up to {Int32.MaxValue}" :: errors
        | [ _; equals ] when equals.Text = "=" -> [], [ unexpected part.Finish "a whole number" ]
        | [ _ ] -> [], [ unexpected part.Finish "'='" ]
        | _ :: other :: rest -> after (unexpected other "'='") (other :: rest)

    /// Reads a text; every syntax error that does not follow from another.
    let parse (text: string) : Parsed =
        let whole = { Tokens = tokens text; Finish = { Position = text.Length + 1; Text = ""; IsWord = false } }

        let network, dims = cut "|" whole
        let head, output = cut "->" network
        let cores = splitAll "," head |> List.map coreOf

        let outputAxes, outputErrors =
            match output with
            | Some part -> sound (axesOf part)
            | None -> [], [ unexpected network.Finish "'->'" ]

        let dims, dimErrors =
            match dims with
            | Some part -> dimsOf part
            | None -> [], []

        {
            Cores = List.map fst cores
            Output = outputAxes
            Dims = dims
            Errors = List.collect snd cores @ outputErrors @ dimErrors
        }

    /// Whether a name is one letter and what may follow it in a word of several axes.
    let private isShort (name: string) = name |> Seq.skip 1 |> Seq.forall (fun c -> not (Char.IsLetter c))

    let private axesText (axes: Axis list) =
        match List.map Axis.name axes with
        | names when List.forall isShort names -> String.Join("", names)
        | [ name ] -> $"({name})"
        | names -> String.Join(" ", names)

    /// The text of a network without dimensions.
    let print (cores: (string option * Axis list) list) (output: Axis list) =
        let core (name: string option, axes: Axis list) =
            match name with
            | Some name -> $"{name}: {axesText axes}".TrimEnd()
            | None -> axesText axes

        (String.Join(", ", List.map core cores) + " -> " + axesText output).TrimEnd()

    /// The text of dimensions, with the bar in front.
    let printDims (dims: (Axis * int) list) =
        if dims.IsEmpty then
            ""
        else
            " | " + String.Join(" ", dims |> List.map (fun (axis, dim) -> $"{axis.Name}={dim}"))
