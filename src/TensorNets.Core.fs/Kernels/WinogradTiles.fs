namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop

/// Planes that are cut into tiles of `Size` rows and columns, each two rows or columns after the one before; the first begins `Above` and
/// `Left` before the planes.
[<Struct>]
type private TiledPlanes = { Channels: int; Height: int; Width: int; Above: int; Left: int; Size: int }

/// Rows of tiles from the first to before the last, counted over all images.
[<Struct>]
type internal TileRows = { Low: int; High: int }

/// Some of the channels that come out.
[<Struct>]
type internal ChannelGroup = { First: int; Count: int }

/// The results of a convolution by 3×3 in tiles of 2×2 positions. Some rows of tiles at a time are transformed; the sixteen numbers of a
/// tile then lie in sixteen matrices of tiles × channels. `workspace`: memory of `Workspace`, for planes with the channels of a position
/// side by side, and one tile at the rim.
[<NoEquality; NoComparison>]
type internal WinogradTiles =
    {
        Window: ConvWindow
        Images: int
        /// Channels that are summed over.
        From: int
        /// Channels that come out.
        Into: int
    }

    /// A number of tiles, filled up to whole blocks of a product.
    static member Whole(tiles: int) = (tiles + GemmMicrokernel.Rows - 1) / GemmMicrokernel.Rows * GemmMicrokernel.Rows

    /// Rows of tiles of an image.
    member z.RowsOfImage = (z.Window.OutHeight + 1) / 2

    /// Tiles of a row.
    member z.TileColumns = (z.Window.OutWidth + 1) / 2

    /// Rows of tiles of all images.
    member z.TileRows = z.Images * z.RowsOfImage

    /// All tiles.
    member z.Count = int64 z.TileRows * int64 z.TileColumns

    /// Rows of tiles that are transformed at a time.
    member z.RowsPerBlock = max 1 (min z.TileRows (Tuning.measured.MostTiles / z.TileColumns))

    /// How many parts a number of rows is cut into, each of at most `RowsPerBlock`: `wanted` if there are as many rows.
    member z.Parts(rows: int, wanted: int) = max ((rows + z.RowsPerBlock - 1) / z.RowsPerBlock) (min rows wanted)

    /// The distance between two of the sixteen matrices of a block. A power of two would put them at the same places of the first cache.
    member z.Next(channels: int) = WinogradTiles.Whole(z.RowsPerBlock * z.TileColumns) * channels + 16

    /// A buffer for the sixteen matrices of a block.
    member z.TileBuffer(channels: int) = new Scratch<float32>(WinogradTransforms.Numbers * z.Next channels)

    /// Numbers at all positions under the tiles of a block.
    member private z.Positions =
        (2 * z.RowsPerBlock + 2) * max (z.From * z.Window.Width) (z.Into * z.Window.OutWidth)

    member z.Workspace = new Scratch<float32>(z.Positions + WinogradTransforms.Numbers * max z.From z.Into)

    /// Calls `act` for every image that some rows of tiles touch: the image, its rows of tiles, and the number of tiles in the rows before
    /// them.
    member private z.EachImage(rows: TileRows, act: int -> TileRows -> int -> unit) : unit =
        let mutable row = rows.Low

        while row < rows.High do
            let image, first = row / z.RowsOfImage, row % z.RowsOfImage
            let count = min (rows.High - row) (z.RowsOfImage - first)
            act image { Low = first; High = first + count } ((row - rows.Low) * z.TileColumns)
            row <- row + count

    /// Copies numbers; null: zeros.
    static member private Copy(numbers: int, from: Floats, into: Floats) : unit =
        let into = Span<float32>(NativePtr.toVoidPtr into, numbers)

        if NativePtr.isNullPtr from then
            into.Clear()
        else
            Span<float32>(NativePtr.toVoidPtr from, numbers).CopyTo into

    /// Calls `act` for every tile of some rows of an image: its number among them, and where its positions lie, each with its channels side
    /// by side.
    member private z.EachTile(p: TiledPlanes, planes: Floats, rows: TileRows, workspace: Floats, act: int -> Strided<float32> -> unit) =
        let rim = NativePtr.add workspace z.Positions

        let top, bottom = max 0 (2 * rows.Low - p.Above), min p.Height (2 * (rows.High - 1) - p.Above + p.Size)

        let pitch = p.Width * p.Channels
        let inline at y x = NativePtr.add workspace ((y - top) * pitch + x * p.Channels)
        let inline isInside y x = y >= 0 && y < p.Height && x >= 0 && x < p.Width
        let positions start row = { Start = start; NextMatrix = 0; NextRow = row; NextColumn = p.Channels }

        if bottom > top then
            let planes = NativePtr.add planes (top * p.Width)
            Transpose.Matrix(p.Channels, (bottom - top) * p.Width, planes, p.Height * p.Width, workspace, p.Channels)

        for row in rows.Low .. rows.High - 1 do
            for column in 0 .. z.TileColumns - 1 do
                let tile = (row - rows.Low) * z.TileColumns + column
                let y, x = 2 * row - p.Above, 2 * column - p.Left

                if isInside y x && isInside (y + p.Size - 1) (x + p.Size - 1) then
                    act tile (positions (at y x) pitch)
                else
                    for i in 0 .. p.Size - 1 do
                        for j in 0 .. p.Size - 1 do
                            let from = if isInside (y + i) (x + j) then at (y + i) (x + j) else Gemm.none
                            WinogradTiles.Copy(p.Channels, from, NativePtr.add rim ((i * p.Size + j) * p.Channels))

                    act tile (positions rim (p.Size * p.Channels))

    /// The transforms of the tiles of some rows of the images, and zeros in what fills the last block of a product.
    member z.Input(images: Floats, rows: TileRows, workspace: Floats, into: Floats) : unit =
        let w, channels, next = z.Window, z.From, z.Next z.From
        let count = (rows.High - rows.Low) * z.TileColumns

        let planes =
            {
                Channels = channels
                Height = w.Height
                Width = w.Width
                Above = w.Above
                Left = w.Left
                Size = WinogradTransforms.Inside
            }

        for k in 0 .. WinogradTransforms.Numbers - 1 do
            let rest = NativePtr.add into (k * next + count * channels)
            WinogradTiles.Copy((WinogradTiles.Whole count - count) * channels, Gemm.none, rest)

        let image i rows before =
            let transform tile positions =
                WinogradTransforms.Input(channels, positions, NativePtr.add into ((before + tile) * channels), next)

            z.EachTile(planes, NativePtr.add images (i * channels * w.Height * w.Width), rows, workspace, transform)

        z.EachImage(rows, image)

    /// The transforms of the tiles of some rows of the gradients of a group of channels that came out.
    member z.OutputBack(gradient: Floats, rows: TileRows, group: ChannelGroup, workspace: Floats, into: Floats) : unit =
        let w, next = z.Window, z.Next group.Count

        let planes =
            {
                Channels = group.Count
                Height = w.OutHeight
                Width = w.OutWidth
                Above = 0
                Left = 0
                Size = WinogradTransforms.Outside
            }

        let image i rows before =
            let transform tile positions =
                WinogradTransforms.OutputBack(group.Count, positions, NativePtr.add into ((before + tile) * group.Count), next)

            let gradient = NativePtr.add gradient ((i * z.Into + group.First) * w.OutHeight * w.OutWidth)
            z.EachTile(planes, gradient, rows, workspace, transform)

        z.EachImage(rows, image)

    /// Some rows of the results of a group of channels, from the sixteen products of their tiles and the bias, or null.
    member z.Output(products: Floats, rows: TileRows, group: ChannelGroup, bias: Floats, workspace: Floats, results: Floats) : unit =
        let w, channels, next = z.Window, group.Count, z.Next group.Count
        let rim = NativePtr.add workspace z.Positions
        let pitch, plane = w.OutWidth * channels, w.OutHeight * w.OutWidth
        let bias = if NativePtr.isNullPtr bias then bias else NativePtr.add bias group.First
        let positions start row = { Start = start; NextMatrix = 0; NextRow = row; NextColumn = channels }

        let image i (rows: TileRows) before =
            let top = rows.Low

            for row in top .. rows.High - 1 do
                for column in 0 .. z.TileColumns - 1 do
                    let tile = NativePtr.add products ((before + (row - top) * z.TileColumns + column) * channels)
                    let into = NativePtr.add workspace (2 * (row - top) * pitch + 2 * column * channels)
                    let high, wide = min 2 (w.OutHeight - 2 * row), min 2 (w.OutWidth - 2 * column)

                    if high = 2 && wide = 2 then
                        WinogradTransforms.Output(channels, tile, next, bias, positions into pitch)
                    else
                        WinogradTransforms.Output(channels, tile, next, bias, positions rim (2 * channels))

                        for y in 0 .. high - 1 do
                            WinogradTiles.Copy(wide * channels, NativePtr.add rim (2 * y * channels), NativePtr.add into (y * pitch))

            let high = min (2 * (rows.High - top)) (w.OutHeight - 2 * top)
            let into = NativePtr.add results ((i * z.Into + group.First) * plane + 2 * top * w.OutWidth)
            Transpose.Matrix(high * w.OutWidth, channels, workspace, channels, into, plane)

        z.EachImage(rows, image)
