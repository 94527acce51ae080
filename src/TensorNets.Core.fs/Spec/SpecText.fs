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

    /// The characters that mean something by themselves.
    let private isSymbol c = ",|():=->→".Contains(c: char)

    let private tokens (text: string) : Token[] =
        let found = Collections.Generic.List<Token>()
        let at i = if i < text.Length then text[i] else ' '

        let rec run belongs i = if i < text.Length && belongs i then run belongs (i + 1) else i

        // A fraction is one token, so that it is refused as one number.
        let isPart i = inWord text[i] || (text[i] = '.' && Char.IsDigit text[i - 1] && Char.IsDigit(at (i + 1)))
        let isOther i = not (inWord text[i] || isSymbol text[i] || Char.IsWhiteSpace text[i])
        let mutable next = 0

        while next < text.Length do
            let start, c = next, text[next]
            let isWord = inWord c || (c = '-' && Char.IsDigit(at (next + 1)))

            next <-
                if isWord then run isPart (next + 1)
                elif isOther next then run isOther (next + 1)
                elif c = '-' && at (next + 1) = '>' then next + 2
                else next + 1

            if not (Char.IsWhiteSpace c) then
                let token = if c = '→' then "->" else text[start .. next - 1]
                found.Add { Position = start + 1; Text = token; IsWord = isWord }

        found.ToArray()

    /// The end is a token without text.
    let private shown (token: Token) =
        match token.Text with
        | "" -> "the end of the text"
        | text when text.Length > 40 -> $"'{text.Substring(0, 40)}…'"
        | text -> $"'{text}'"

    let private unexpected (token: Token) expected = SpecError.Syntax(token.Position, shown token, expected)

    /// A part of the text: its tokens and the token that ends it.
    type private Part =
        {
            Tokens: ReadOnlyMemory<Token>
            Finish: Token
        }

        member this.Length = this.Tokens.Length
        member this.Item i = this.Tokens.Span[i]
        member this.From i = { this with Tokens = this.Tokens.Slice i }

    /// What stands before the first such symbol, and what stands after it, if there is one.
    let private cut (symbol: string) (part: Part) : Part * Part option =
        let rec find i = if i < part.Length && part[i].Text <> symbol then find (i + 1) else i

        match find 0 with
        | i when i = part.Length -> part, None
        | i -> { Tokens = part.Tokens.Slice(0, i); Finish = part[i] }, Some(part.From(i + 1))

    let private splitAll (symbol: string) (part: Part) : Part list =
        let rec split found part =
            match cut symbol part with
            | last, None -> List.rev (last :: found)
            | first, Some rest -> split (first :: found) rest

        split [] part

    let private notAnAxis word = unexpected word "an axis, which begins with a letter"

    /// `a1bc` as a1, b, c.
    let private letters (word: Token) : Axis list * SpecError list =
        if Axis.isName word.Text then
            let starts = [ 0 .. word.Text.Length - 1 ] |> List.filter (fun i -> Char.IsLetter word.Text[i])

            let ends = List.tail starts @ [ word.Text.Length ]
            List.map2 (fun first last -> Axis word.Text[first .. last - 1]) starts ends, []
        else
            [], [ notAnAxis word ]

    let private axesOf (part: Part) : Axis list * SpecError list =
        if part.Length = 1 && part[0].IsWord then
            letters part[0]
        else
            let axes, errors = Collections.Generic.List(), Collections.Generic.List()
            let mutable inside = false

            for i in 0 .. part.Length - 1 do
                match part[i] with
                | token when token.IsWord -> if Axis.isName token.Text then axes.Add(Axis token.Text) else errors.Add(notAnAxis token)
                | token when token.Text = (if inside then ")" else "(") -> inside <- not inside
                | token -> errors.Add(unexpected token (if inside then "an axis or ')'" else $"an axis or {shown part.Finish}"))

            if inside then
                errors.Add(unexpected part.Finish "')'")

            List.ofSeq axes, List.ofSeq errors

    /// No axes where there is an error.
    let private sound (axes: Axis list, errors: SpecError list) = (if errors.IsEmpty then axes else []), errors

    let private coreOf (part: Part) : (string option * Axis list) * SpecError list =
        if part.Length >= 2 && part[0].IsWord && part[1].Text = ":" then
            let axes, errors = sound (axesOf (part.From 2))

            if Axis.isName part[0].Text then
                (Some part[0].Text, axes), errors
            else
                (None, axes), unexpected part[0] "the name of a core, which begins with a letter" :: errors
        else
            let axes, errors = sound (axesOf part)
            (None, axes), errors

    let private dimsOf (part: Part) : (Axis * int) list * SpecError list =
        let dims, errors = Collections.Generic.List(), Collections.Generic.List()
        let is text i = i < part.Length && part[i].Text = text

        // After an error reading goes on at the next name that an equals sign follows.
        let rec resume i = if i >= part.Length || part[i].IsWord && is "=" (i + 1) then i else resume (i + 1)

        let refuse token expected next =
            errors.Add(unexpected token expected)
            next

        let rec read i =
            if i < part.Length then
                read (
                    if is "," i then
                        i + 1
                    elif not (Axis.isName part[i].Text) then
                        refuse part[i] "the name of an axis" (resume (i + 1))
                    elif i + 1 = part.Length then
                        refuse part.Finish "'='" part.Length
                    elif not (is "=" (i + 1)) then
                        refuse part[i + 1] "'='" (resume (i + 1))
                    elif i + 2 = part.Length then
                        refuse part.Finish "a whole number" part.Length
                    else
                        match Int32.TryParse(part[i + 2].Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) with
                        | true, dim ->
                            dims.Add(Axis part[i].Text, dim)
                            i + 3
                        | _ ->
                            // What stands for the number is passed over, unless it is the next name.
                            refuse part[i + 2] $"a whole number up to {Int32.MaxValue}" (if is "=" (i + 3) then i + 2 else i + 3)
                )

        read 0
        List.ofSeq dims, List.ofSeq errors

    /// Reads a text; every syntax error that does not follow from another.
    let parse (text: string) : Parsed =
        ArgumentNullException.ThrowIfNull(text, nameof text)

        let whole =
            {
                Tokens = ReadOnlyMemory(tokens text)
                Finish = { Position = text.Length + 1; Text = ""; IsWord = false }
            }

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
