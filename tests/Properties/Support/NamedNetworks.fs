/// Random networks with names of every kind: long ones, digits, letters beyond ASCII, cores named and unnamed.
module NamedNetworks

open FsCheck.FSharp
open TensorNets
open Generators

/// A random network with names of every kind.
[<StructuredFormatDisplay("{Text}")>]
type NamedNetwork =
    {
        Network: AnyNetwork
        /// A name for each axis by number.
        Axes: string list
        /// A name for each core by position; none for that of the position.
        Cores: string option list
    }

    member this.Spec =
        let original = this.Network.Spec

        let axis (Axis letter) = Axis this.Axes[int letter[0] - int 'a']

        Spec.create
            (original.Dims |> Map.toList |> List.map (fun (name, dim) -> axis name, dim))
            (original.Cores
             |> List.mapi (fun i core -> { Name = defaultArg this.Cores[i] core.Name; Axes = List.map axis core.Axes }))
            (List.map axis original.Output)
        |> specOk

    member this.Text = Spec.print this.Spec
    override this.ToString() = this.Text

/// Names made distinct by underscores.
let private distinct (taken: string list) (names: string list) =
    let rec free seen name = if List.contains name seen then free seen (name + "_") else name

    ((taken, []), names)
    ||> List.fold (fun (seen, found) name ->
        let name = free seen name
        name :: seen, name :: found)
    |> snd
    |> List.rev

let private name =
    gen {
        let! first = Gen.elements [ 'a'; 'b'; 'r'; 'A'; 'B'; 'C'; 'é'; 'Σ' ]

        let! longer =
            Gen.frequency [ 2, Gen.constant [ '0' .. '3' ]; 1, Gen.constant [ 'a'; 'n'; 'Z'; '7'; '_'; 'ß' ] ]

        let! length = Gen.choose (0, 3)
        let! rest = Gen.listOfLength length (Gen.elements longer)
        return System.String(List.toArray (first :: rest))
    }

let private named =
    gen {
        let! network = anyNetwork
        let! axes = Gen.listOfLength 6 name
        let! keep = Gen.listOfLength network.Cores.Length (Gen.elements [ true; false ])
        let! cores = Gen.listOfLength network.Cores.Length name
        let positions = keep |> List.mapi (fun i kept -> if kept then Some(Spec.positionName i) else None)
        let cores = distinct (List.choose id positions) cores

        return
            {
                Network = network
                Axes = distinct [] axes
                Cores = List.map2 (fun kept name -> if kept then None else Some name) keep cores
            }
    }

let private shrinkNamed (case: NamedNetwork) =
    seq {
        for i in 0 .. case.Cores.Length - 1 do
            if case.Network.Cores.Length > 1 then
                { case with
                    Network = { case.Network with Cores = List.removeAt i case.Network.Cores }
                    Cores = List.removeAt i case.Cores
                }

        for smaller in shrinkNetwork case.Network do
            if smaller.Cores.Length = case.Network.Cores.Length then
                { case with Network = smaller }
    }
    // Without a core its position's name moves on, and an output axis may lose its last core.
    |> Seq.filter (fun case ->
        let names = case.Cores |> List.mapi (fun i name -> defaultArg name (Spec.positionName i))

        List.distinct names = names
        && case.Network.Output |> List.forall (fun i -> case.Network.Cores |> List.exists (List.contains i)))

let namedNetworks = Arb.fromGenShrink (named, shrinkNamed)

/// A text in which one character is replaced by another, left out or doubled.
let damaged (seed: int) (text: string) =
    let random = System.Random seed
    let at = random.Next text.Length
    let signs = ",:()|=->  3aB{}[]\"\\u'?"

    let middle =
        match random.Next 3 with
        | 0 -> string signs[random.Next signs.Length]
        | 1 -> ""
        | _ -> string text[at] + string text[at]

    text[.. at - 1] + middle + text[at + 1 ..]
