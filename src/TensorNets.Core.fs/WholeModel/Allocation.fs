namespace TensorNets

/// One option of a layer: what it costs and what damage it does.
[<Struct>]
type internal Offer = { Cost: float; Damage: float }

/// The choice of one option for each layer, the least sum of damages at a bounded sum of costs.
[<RequireQualifiedAccess>]
module internal Allocation =
    /// The options on the lower convex hull of damage over cost, as indices, the dearest first: each step to the next saves less per
    /// damage.
    let hull (offers: Offer[]) : int list =
        let ordered =
            [ 0 .. offers.Length - 1 ]
            |> List.sortBy (fun i -> struct (offers[i].Cost, offers[i].Damage))
            // From the cheapest up: only what does less damage than everything cheaper.
            |> List.fold
                (fun kept i ->
                    match kept with
                    | last :: _ when offers[i].Damage >= offers[last].Damage -> kept
                    | _ -> i :: kept)
                []
            |> List.rev

        let slope i j = (offers[j].Damage - offers[i].Damage) / (offers[j].Cost - offers[i].Cost)

        let rec add (stack: int list) i =
            match stack with
            | middle :: (first :: _ as rest) when slope first middle >= slope middle i -> add rest i
            | _ -> i :: stack

        (([]: int list), ordered) ||> List.fold add

    let private total (pick: Offer -> float) (layers: Offer[][]) (choice: int[]) =
        let mutable sum = 0.0

        for l in 0 .. layers.Length - 1 do
            sum <- sum + pick layers[l].[choice[l]]

        sum

    /// The steps down the hulls in the order of the damage that a unit of cost costs, as far as the budget asks for.
    let private descend (layers: Offer[][]) (hulls: int[][]) (budget: float) : int[] =
        let choice = hulls |> Array.map Array.head

        let steps =
            [|
                for l in 0 .. layers.Length - 1 do
                    for k in 1 .. hulls[l].Length - 1 do
                        let a, b = layers[l].[hulls[l].[k - 1]], layers[l].[hulls[l].[k]]
                        struct ((b.Damage - a.Damage) / (a.Cost - b.Cost), l, hulls[l].[k])
            |]
            |> Array.sortBy (fun (struct (price, l, _)) -> struct (price, l))

        let mutable i = 0

        // Summed anew each time, so that what rounds is the same as where the cheapest are summed.
        while total _.Cost layers choice > budget && i < steps.Length do
            let struct (_, l, next) = steps[i]
            choice[l] <- next
            i <- i + 1

        choice

    /// A share of the damage below which an exchange is no gain but rounding.
    let private gain = 1e-12

    /// Exchanges one layer's option, or two layers' at once, while that lowers the damage within the budget.
    let private exchange (layers: Offer[][]) (budget: float) (choice: int[]) : unit =
        let mutable moved = true
        // Damages of an edited plan may be negative, and cancel: what rounds is the sum of their sizes.
        let size () = total (fun offer -> abs offer.Damage) layers choice

        let attempt (moves: (int * int) list) =
            let change pick = moves |> List.sumBy (fun (l, o) -> pick layers[l].[o] - pick layers[l].[choice[l]])

            let damage = change _.Damage

            if damage < 0.0 && damage < -gain * size () && total _.Cost layers choice + change _.Cost <= budget then
                for l, o in moves do
                    choice[l] <- o

                moved <- true

        while moved do
            moved <- false

            for l in 0 .. layers.Length - 1 do
                for o in 0 .. layers[l].Length - 1 do
                    attempt [ l, o ]

            for l in 0 .. layers.Length - 1 do
                for m in l + 1 .. layers.Length - 1 do
                    for o in 0 .. layers[l].Length - 1 do
                        for p in 0 .. layers[m].Length - 1 do
                            attempt [ l, o; m, p ]

    /// An option for each layer, or the costs of the cheapest ones where even these exceed the budget. The damage is at most the least
    /// possible plus that of one step down a hull.
    let choose (budget: float) (layers: Offer[][]) : Result<int[], float[]> =
        let hulls = layers |> Array.map (hull >> List.toArray)
        let cheapest = hulls |> Array.map Array.last

        // Written so that no number is no budget.
        if not (total _.Cost layers cheapest <= budget) then
            Error(Array.map2 (fun (offers: Offer[]) i -> offers[i].Cost) layers cheapest)
        else
            let choice = descend layers hulls budget
            exchange layers budget choice
            Ok choice

    /// The most that the damage of `choose` can lie above the least possible: the largest step down a hull.
    let gap (layers: Offer[][]) : float =
        layers
        |> Array.map (fun offers ->
            hull offers
            |> List.pairwise
            |> List.map (fun (a, b) -> offers[b].Damage - offers[a].Damage)
            |> List.fold max 0.0)
        |> Array.fold max 0.0
