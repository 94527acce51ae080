namespace TensorNets

open System

/// Tables in plain text.
[<RequireQualifiedAccess>]
module internal TextTable =
    /// Rows under a head, columns as wide as their widest entry; numbers to the right.
    let write (head: string list) (rows: string list list) : string =
        let all = head :: rows
        let width i = all |> List.map (fun row -> (List.item i row).Length) |> List.max
        let widths = [ for i in 0 .. head.Length - 1 -> width i ]

        let isNumber (text: string) =
            text = ""
            || fst (Double.TryParse(text, Globalization.NumberStyles.Float, Globalization.CultureInfo.InvariantCulture))

        let right =
            [ for i in 0 .. head.Length - 1 -> rows |> List.forall (fun row -> isNumber (List.item i row)) ]

        let line (row: string list) =
            let cells =
                List.zip3 row widths right
                |> List.map (fun (text, width, right) -> if right then text.PadLeft width else text.PadRight width)

            String.Join("  ", cells).TrimEnd()

        String.Join("\n", all |> List.map line)
