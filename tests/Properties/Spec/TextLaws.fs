/// Networks as text and as JSON, and back.
module TextLaws

open System
open System.Threading
open Expecto
open TensorNets
open Generators
open NamedNetworks

let private text =
    testList
        "text"
        [
            lawOver namedNetworks "reading what is printed gives the network" (fun case ->
                Expect.equal (Spec.parse [] (Spec.print case.Spec)) (Ok case.Spec) "round trip")
            lawOver namedNetworks "without dimensions it reads the same when they are given apart" (fun case ->
                let dims = case.Spec.Dims |> Map.toList |> List.map (fun (axis, dim) -> axis.Name, dim)
                let bare = (Spec.print case.Spec).Split('|')[0]
                Expect.equal (Spec.parse dims bare) (Ok case.Spec) "dimensions given apart"

                let read = Spec.parse dims (string case.Spec) |> specOk
                Expect.equal (read.Cores |> List.map _.Axes) (case.Spec.Cores |> List.map _.Axes) "ToString gives the axes"
                Expect.equal read.Output case.Spec.Output "ToString gives the output")
            lawOver namedNetworks "a damaged text is read, or refused at places in it" (fun case ->
                let text = damaged case.Network.Seed (Spec.print case.Spec)

                match Spec.parse [] text with
                | Ok spec -> Expect.equal (Spec.parse [] (Spec.print spec)) (Ok spec) "what was read"
                | Error errors ->
                    Expect.isNonEmpty errors "errors"

                    for error in errors do
                        match error with
                        | SpecError.Syntax(position, _, _) ->
                            Expect.isTrue (1 <= position && position <= text.Length + 1) $"{position} in '{text}'"
                        | _ -> ())
        ]

let private axes (names: string) = names.Split ' ' |> List.ofArray |> List.map Axis

let private accepted =
    testList
        "what a text means"
        [
            for text, cores, output in
                [
                    "sr, dr, tr -> sdt | s=2 d=3 t=4 r=5", [ "A", axes "s r"; "B", axes "d r"; "C", axes "t r" ], axes "s d t"
                    "a1b,b->a1|a1=2,b=3", [ "A", axes "a1 b"; "B", axes "b" ], axes "a1"
                    "in rank, rank out -> in out | in=2 rank=3 out=4", [ "A", axes "in rank"; "B", axes "rank out" ], axes "in out"
                    "(rank), (rank) -> | rank=2", [ "A", axes "rank"; "B", axes "rank" ], []
                    "G: a, B:, -> a | a=2", [ "G", axes "a"; "B", []; "C", [] ], axes "a"
                    "->", [ "A", [] ], []
                    "sr,rt→st|s=2 r=3 t=4", [ "A", axes "s r"; "B", axes "r t" ], axes "s t"
                ] do
                testCase text (fun () ->
                    let spec = Spec.parse [] text |> specOk
                    Expect.equal (spec.Cores |> List.map (fun core -> core.Name, core.Axes)) cores "cores"
                    Expect.equal spec.Output output "output")
        ]

let private refused =
    testList
        "what is wrong with a text"
        [
            for text, expected in
                [
                    "", [ SpecError.Syntax(1, "the end of the text", "'->'") ]
                    "ab, bc", [ SpecError.Syntax(7, "the end of the text", "'->'") ]
                    "ab, b?c -> ac | a=2 b=3 c=4", [ SpecError.Syntax(6, "'?'", "an axis or '->'") ]
                    "ab, b' -> a | a=2 b=3", [ SpecError.Syntax(6, "'''", "an axis or '->'") ]
                    "ab, …, yz -> az | a=2 b=2 y=2 z=2", [ SpecError.Syntax(5, "'…'", "an axis or ','") ]
                    "ab, ..., yz -> az | a=2 b=2 y=2 z=2", [ SpecError.Syntax(5, "'...'", "an axis or ','") ]
                    "ab, b😀 -> a | a=2 b=2", [ SpecError.Syntax(6, "'😀'", "an axis or '->'") ]
                    "a -> a | a=2.5", [ SpecError.Syntax(12, "'2.5'", $"a whole number up to {Int32.MaxValue}") ]
                    "a -> a | a=-2.5e3", [ SpecError.Syntax(12, "'-2.5e3'", $"a whole number up to {Int32.MaxValue}") ]
                    "ab, (bc -> ac", [ SpecError.Syntax(9, "'->'", "')'") ]
                    "2ab -> b", [ SpecError.Syntax(1, "'2ab'", "an axis, which begins with a letter") ]
                    "3: ab -> b", [ SpecError.Syntax(1, "'3'", "the name of a core, which begins with a letter") ]
                    "ab, bc -> ac | a=x b 3 c=4 c",
                    [
                        SpecError.Syntax(18, "'x'", $"a whole number up to {Int32.MaxValue}")
                        SpecError.Syntax(22, "'3'", "'='")
                        SpecError.Syntax(29, "the end of the text", "'='")
                    ]
                    // Errors of every part at once, those of meaning that syntax does not explain included.
                    "a!, bb, B: c -> c -> | a=0",
                    [
                        SpecError.Syntax(2, "'!'", "an axis or ','")
                        SpecError.Syntax(19, "'->'", "an axis or '|'")
                        SpecError.DuplicateCore "B"
                        SpecError.RepeatedAxis("B", "b")
                        SpecError.NonPositiveDimension("a", 0)
                    ]
                    "ab, bc -> ad | a=-2 b=3 e=1",
                    [
                        SpecError.MissingDimension("c", "core 'B'")
                        SpecError.NonPositiveDimension("a", -2)
                        SpecError.UnusedDimension "e"
                        SpecError.OutputAxisWithoutCore "d"
                    ]
                ] do
                testCase $"'{text}'" (fun () -> Expect.equal (Spec.parse [] text) (Error expected) "errors")
            testCase "a dimension both in the list and in the text" (fun () ->
                Expect.equal (Spec.parse [ "a", 2 ] "a -> a | a=2") (Error [ SpecError.DuplicateDimension "a" ]) "errors")
        ]

let private json =
    testList
        "JSON"
        [
            lawOver namedNetworks "reading what is written gives the network" (fun case ->
                Expect.equal (SpecJson.read (SpecJson.write case.Spec)) (Ok case.Spec) "round trip")
            lawOver namedNetworks "a damaged file is read or refused" (fun case ->
                match SpecJson.read (damaged case.Network.Seed (SpecJson.write case.Spec)) with
                | Ok spec -> Expect.equal (SpecJson.read (SpecJson.write spec)) (Ok spec) "what was read"
                | Error errors -> Expect.isNonEmpty errors "errors")
            testCase "properties that are not known are passed over" (fun () ->
                let text =
                    """{"note":1,"version":1,"dims":{"a":2},"cores":[{"name":"A","axes":["a"],"x":null}],"output":["a"],"z":{}}"""

                Expect.equal (SpecJson.read text) (Spec.parse [] "a -> a | a=2") "network")
            for text, expected in
                [
                    "[]", [ SpecError.JsonType("$", "an array", "an object") ]
                    "{}", [ SpecError.JsonType("$.version", "nothing", "a whole number") ]
                    """{"version":"1"}""", [ SpecError.JsonType("$.version", "a string", "a whole number") ]
                    """{"version":2,"cores":7}""", [ SpecError.JsonVersion("2", "1") ]
                    """{"version":1,"dims":{"a":2.5,"b":"2"},"cores":[{"name":null,"axes":["a",3]},7]}""",
                    [
                        SpecError.JsonType("$.dims.a", "2.5", $"a whole number up to {Int32.MaxValue}")
                        SpecError.JsonType("$.dims.b", "a string", "a whole number")
                        SpecError.JsonType("$.cores[0].name", "null", "a string")
                        SpecError.JsonType("$.cores[0].axes[1]", "3", "a string")
                        SpecError.JsonType("$.cores[1]", "7", "an object")
                        SpecError.JsonType("$.output", "nothing", "an array")
                    ]
                    """{"version":1,"version":1}""", [ SpecError.JsonType("$.version", "given more than once", "a whole number") ]
                    """{"version":1,"dims":{"a":2},"cores":[{"name":"A","axes":["a","a"]}],"output":["b"]}""",
                    [ SpecError.RepeatedAxis("A", "a"); SpecError.OutputAxisWithoutCore "b" ]
                    """{"version":1,"dims":{"a":2,"a":2},"cores":[{"name":"A","axes":["a"]}],"output":[]}""",
                    [ SpecError.DuplicateDimension "a" ]
                ] do
                testCase text (fun () -> Expect.equal (SpecJson.read text) (Error expected) "errors")
            for text in
                [
                    """{"version":1,"dims":{},"cores":[{"name":"\ud800","axes":[]}],"output":[]}"""
                    """{"version":1,"dims":{"\ud800":1},"cores":[],"output":[]}"""
                ] do
                testCase text (fun () ->
                    Expect.equal
                        (SpecJson.read text)
                        (Error [ SpecError.JsonType("$", "text with half of a character", "Unicode text") ])
                        "errors")
            for text in [ ""; "{"; "{\"version\":1,}"; "{}\n\n 7" ] do
                testCase $"malformed: %A{text}" (fun () ->
                    match SpecJson.read text with
                    | Error [ SpecError.MalformedJson(line, position, _) ] -> Expect.isTrue (line >= 1L && position >= 1L) "place"
                    | other -> failtestf "%A" other)
        ]

/// The call in a thread with a small stack, which ends: in far less than this, however busy the machine is.
let private inSmallStack (call: unit -> 'T) : 'T =
    let mutable result = None

    let thread = Thread((fun () -> result <- Some(call ())), 256 * 1024)
    thread.IsBackground <- true
    thread.Start()
    Expect.isTrue (thread.Join(TimeSpan.FromSeconds 60.0)) "an end"
    result.Value

let private long =
    let n = 100_000
    let times (part: string) = String.replicate n part
    let numbered f = String.Join("", Seq.init n f)

    testList
        "long texts are read or refused, with little stack and in time that grows with their length"
        [
            for what, text in
                [
                    "commas", times "," + "->"
                    "commas without an arrow", times ","
                    "axes", numbered (fun i -> $"a{i} ") + "-> | " + numbered (fun i -> $"a{i}=2 ")
                    "axes in the output", "a b -> " + numbered (fun i -> $"a{i} ")
                    "one word of axes", numbered (fun i -> $"a{i}") + "->"
                    "cores of one axis", numbered (fun i -> $"a{i}, ") + "->"
                    "one axis in each core", times "a, " + "a -> | a=2"
                    "the same axis", times "a " + "->"
                    "opening parentheses", times "("
                    "closing parentheses", times ")"
                    "pairs of parentheses", times "()" + "->"
                    "arrows", times "->"
                    "bars", times "|"
                    "dimensions", "a -> a | " + times "a=2 "
                    "dimensions without numbers", "a -> a | " + times "a="
                    "dimensions without equals signs", "a -> a | " + times "a "
                    "equals signs", "a -> a | " + times "="
                    "names of cores", times "A: a, " + "->"
                    "colons", times ":"
                    "other characters", times "?"
                    "other characters apart", times "? "
                    "digits", "a -> a | a=" + times "9"
                    "halves of characters", String(char 0xD800, n)
                ] do
                testCase what (fun () ->
                    match inSmallStack (fun () -> Spec.parse [] text) with
                    | Ok spec -> Expect.isNonEmpty spec.Cores "cores"
                    | Error errors -> Expect.isNonEmpty errors "errors")
            for what, text in
                [
                    "brackets", times "["
                    "cores",
                    """{"version":1,"dims":{},"cores":["""
                    + numbered (fun i -> $"""{{"name":"A{i}","axes":[]}},""")
                    + "7]}"
                    "axes",
                    """{"version":1,"dims":{"""
                    + numbered (fun i -> $"\"a{i}\":2,")
                    + "\"z\":1},\"cores\":[{\"name\":\"A\",\"axes\":["
                    + numbered (fun i -> $"\"a{i}\",")
                    + "\"z\"]}],\"output\":[]}"
                    "the same key", "{" + times "\"version\":1," + "\"version\":1}"
                ] do
                testCase $"JSON: {what}" (fun () ->
                    match inSmallStack (fun () -> SpecJson.read text) with
                    | Ok spec -> Expect.isNonEmpty spec.Cores "cores"
                    | Error errors -> Expect.isNonEmpty errors "errors")
        ]

let private halves =
    testList
        "half of a character is refused wherever it stands"
        [
            lawOver namedNetworks "in JSON, as it is and as an escape" (fun case ->
                let json = SpecJson.write case.Spec

                for half in [ String(char 0xD800, 1); String(char 0xDC00, 1); "\\ud800"; "\\udc00" ] do
                    let place = Random(case.Network.Seed).Next(json.Length + 1)
                    Expect.isError (SpecJson.read (json.Insert(place, half))) $"{half} at {place} of {json}")
            lawOver namedNetworks "in text" (fun case ->
                let text = Spec.print case.Spec
                let place = Random(case.Network.Seed).Next(text.Length + 1)
                Expect.isError (Spec.parse [] (text.Insert(place, String(char 0xD800, 1)))) $"at {place} of {text}")
        ]

let private inputs =
    testList
        "what takes part in a contraction beside cores"
        [
            for input in
                [
                    PlanInput.Core "A"
                    PlanInput.Core "G'"
                    PlanInput.Identity(Axis "rank")
                    PlanInput.Ones(Axis "r1")
                    PlanInput.Target
                    PlanInput.CovarianceRoot
                    PlanInput.Message 12
                    PlanInput.Tangent 0
                ] do
                testCase $"{input} is read back from its name, which no user's core has" (fun () ->
                    let name = PlanInput.name input
                    Expect.equal (PlanInput.ofName name) input name

                    match input with
                    | PlanInput.Core _ -> ()
                    | _ -> Expect.isError (Spec.create [ Axis "s", 2 ] [ { Name = name; Axes = [ Axis "s" ] } ] [ Axis "s" ]) name)
        ]

let all = testList "forms" [ text; accepted; refused; json; long; halves; inputs ]
